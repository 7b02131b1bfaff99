"""Export and parity with a damaged package between them."""

from kfp import dsl
from parts import adopt_dataset, adopt_model, damage_package, run

from tunelane_components.export.component import export_onnx
from tunelane_components.parity.component import validate_parity


@dsl.pipeline(name="sabotaged-parity")
def sabotaged_parity(checkpoint: str, data: str, how: str) -> None:
    """What `train_classifier` does from export to parity, with `damage_package` in the middle."""
    model = adopt_model(path=checkpoint)
    dataset = adopt_dataset(path=data)
    exported = export_onnx(model=model.outputs["model"])
    damaged = damage_package(how=how, draft=exported.outputs["package"])
    validate_parity(model=model.outputs["model"], dataset=dataset.outputs["dataset"], draft=damaged.outputs["damaged"])


if __name__ == "__main__":
    run(sabotaged_parity)

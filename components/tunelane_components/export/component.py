"""The KFP component of this stage."""

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def export_onnx(model: Input[Model], package: Output[Model], metrics: Output[Metrics], quantize: bool = True) -> None:
    """Export a fine-tuned classifier to a model package: fp32 and int8 ONNX graphs, tokenizer and manifest.

    Args:
        model: The merged checkpoint.
        package: The package, not yet checked against PyTorch.
        metrics: Size of each graph in megabytes.
        quantize: Add an int8 graph and prefer it.
    """
    from pathlib import Path

    from tunelane_components.export.onnx import export_package
    from tunelane_components.leaving import leave_quickly

    leave_quickly()
    manifest = export_package(Path(model.path), Path(package.path), quantize=quantize)
    sizes_bytes = {file.path: file.size_bytes for file in manifest.files}
    for variant in manifest.variants:
        metrics.log_metric(f"{variant.name}_mb", round(sizes_bytes[variant.path] / 1e6, 1))

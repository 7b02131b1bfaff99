"""A classifier that was trained elsewhere to a model package: import, export, parity."""

from kfp import dsl

from tunelane_components.etl.component import build_dataset
from tunelane_components.export.component import export_onnx
from tunelane_components.parity.component import validate_parity
from tunelane_components.train.component import import_checkpoint
from tunelane_pipelines.tasks import named


@dsl.pipeline(
    name="convert",
    display_name="Convert checkpoint",
    description="A finished PyTorch checkpoint to a model package whose graphs are proved to answer alike.",
)
def convert(
    checkpoint: str,
    data: str,
    text_field: str = "text",
    label_field: str = "label",
    taxonomy: str = "",
    base_model: str = "",
    rows: int = 0,
    minimum_rows: int = 50,
    max_length_tokens: int = 128,
    quantize: bool = True,
    min_agreement: float = 0.95,
    min_f1_delta: float = -0.03,
) -> None:
    """Turn a checkpoint into a model package.

    Args:
        checkpoint: A directory saved by transformers, or a .pt file with a state dict; local or gs://.
        data: Labelled text to hold the graphs against PyTorch on; a file, a folder or a pattern.
        text_field: Column that holds the text.
        label_field: Column that holds the label.
        taxonomy: The labels in the order of the model's outputs; empty: the names in the checkpoint's config.
        base_model: For a .pt file: directory, gs:// URI or hub id with the architecture's config and tokenizer.
        rows: Rows to use, the same ones every time; 0 for all.
        minimum_rows: Fewest usable rows to go on with.
        max_length_tokens: Longest input in tokens; longer texts are cut.
        quantize: Add an int8 graph and prefer it.
        min_agreement: Least share of labels on which a graph must agree with PyTorch.
        min_f1_delta: Lowest macro-F1 difference of a graph to PyTorch.
    """
    imported = import_checkpoint(
        checkpoint=checkpoint, taxonomy=taxonomy, base_model=base_model, max_length_tokens=max_length_tokens
    )
    named(imported, "Import checkpoint")
    # Held-out rows are all that is wanted of the data: most of it goes to validation and test.
    dataset = build_dataset(
        data=data,
        text_field=text_field,
        label_field=label_field,
        taxonomy=imported.outputs["Output"],
        rows=rows,
        minimum_rows=minimum_rows,
        valid_fraction=0.4,
        test_fraction=0.4,
        # Nothing is trained on what is left, so nothing in it can leak.
        near_duplicate_threshold=0.0,
    )
    named(dataset, "Build dataset")
    exported = export_onnx(model=imported.outputs["model"], quantize=quantize)
    named(exported, "Export to ONNX")
    checked = validate_parity(
        model=imported.outputs["model"],
        dataset=dataset.outputs["dataset"],
        draft=exported.outputs["package"],
        min_agreement=min_agreement,
        min_f1_delta=min_f1_delta,
    )
    named(checked, "Validate parity")

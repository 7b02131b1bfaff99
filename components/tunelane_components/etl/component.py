"""The KFP component of this stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Metrics, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def build_dataset(
    data: str,
    dataset: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
    text_field: str = "text",
    label_field: str = "label",
    id_field: str = "",
    source_field: str = "",
    taxonomy: str = "",
    rows: int = 0,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    minimum_rows: int = 50,
) -> None:
    """Check labelled text and split it into train, valid and test, with its taxonomy and what was quarantined.

    Args:
        data: URI of a CSV, TSV, JSON or JSONL file.
        dataset: The splits as JSONL, taxonomy.json, quarantine.jsonl and dataset.json.
        metrics: Rows read, kept, merged, cut and quarantined, and rows by split.
        report: The dataset as a page.
        text_field: Column of the text.
        label_field: Column of the label.
        id_field: Column of the row's id; empty makes ids from the texts.
        source_field: Column that says where a row came from; a slice in evaluation.
        taxonomy: URI of a YAML or JSON file of the labels; empty infers them from the data.
        rows: How many rows to keep, a stable choice; 0 keeps all.
        valid_fraction: Share of rows to choose epochs on.
        test_fraction: Share of rows to judge the model on.
        minimum_rows: Stop if fewer rows are kept.
    """
    import tempfile
    from pathlib import Path

    from tunelane_components.etl.dataset import build_dataset as build
    from tunelane_components.etl.report import render
    from tunelane_components.leaving import leave_quickly
    from tunelane_components.storage import local_copy

    leave_quickly()
    with tempfile.TemporaryDirectory() as scratch:
        summary = build(
            local_copy(data, Path(scratch), what="data"),
            Path(dataset.path),
            text_field=text_field,
            label_field=label_field,
            id_field=id_field,
            source_field=source_field,
            taxonomy=local_copy(taxonomy, Path(scratch) / "taxonomy", what="taxonomy") if taxonomy else None,
            rows=rows,
            minimum_rows=minimum_rows,
            valid_fraction=valid_fraction,
            test_fraction=test_fraction,
        )
    dataset.metadata["digest"] = summary.digest
    dataset.metadata["taxonomy_digest"] = summary.taxonomy_digest
    dataset.metadata["rows"] = summary.rows_kept
    metrics.log_metric("rows_read", summary.rows_read)
    metrics.log_metric("rows_kept", summary.rows_kept)
    metrics.log_metric("rows_merged", summary.rows_merged)
    metrics.log_metric("rows_cut", summary.rows_cut)
    metrics.log_metric("rows_quarantined", summary.rows_quarantined)
    for reason, count in summary.quarantined.items():
        metrics.log_metric(f"quarantined_{reason}", count)
    for split in summary.labels:
        metrics.log_metric(f"rows_{split}", summary.rows_of(split))
    Path(report.path).write_text(render(summary), encoding="utf-8")

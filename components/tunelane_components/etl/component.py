"""The KFP components of this stage."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Metrics, Output

from tunelane_components.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def fingerprint_data(
    data: str,
    test_data: str = "",
    taxonomy: str = "",
    source_format: str = "",
    tokenizer: str = "",
    prompt_template: str = "",
    upload_root: str = "",
) -> str:
    """Digest what build_dataset would read now, so that a cached dataset is used again only for the same sources.

    Args:
        data: As of build_dataset; each file counts by its URI and its content.
        test_data: As of build_dataset.
        taxonomy: As of build_dataset.
        source_format: As of build_dataset; a transformer's sources are taken for new each time.
        tokenizer: As of build_dataset.
        prompt_template: As of build_dataset.
        upload_root: As of build_dataset; where it is given, nothing is used again, since the upload may be gone.
    """
    from tunelane_components.etl.fingerprint import fingerprint
    from tunelane_components.leaving import leave_quickly

    leave_quickly()
    return fingerprint(
        data,
        test_data=test_data,
        taxonomy=taxonomy,
        source_format=source_format,
        tokenizer=tokenizer,
        prompt_template=prompt_template,
        upload_root=upload_root,
    )


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def build_dataset(
    data: str,
    dataset: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
    text_field: str = "text",
    label_field: str = "label",
    label_separator: str = "",
    multi_label: bool = False,
    id_field: str = "",
    source_field: str = "",
    image_field: str = "",
    metadata_fields: str = "",
    split_field: str = "",
    test_data: str = "",
    taxonomy: str = "",
    source_format: str = "",
    delimiter: str = "",
    encoding: str = "utf-8",
    mask_personal_data: bool = False,
    max_characters: int = 100000,
    tokenizer: str = "",
    max_length_tokens: int = 128,
    max_tokens: int = 0,
    max_rejected_fraction: float = 0.1,
    near_duplicate_threshold: float = 0.8,
    rows: int = 0,
    minimum_rows: int = 50,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_per_label: int = 0,
    min_per_label: int = 0,
    formats: str = "",
    prompt_template: str = "",
    upload_root: str = "",
    data_fingerprint: str = "",  # noqa: ARG001  it tells one cached result from another
) -> None:
    """Check labelled text and split it into train, valid and test, with its taxonomy and what was quarantined.

    Args:
        data: URI of a CSV, TSV, JSON, JSONL or Parquet file, plain, .gz or .zst; or a folder or a pattern of them.
        dataset: The splits as JSONL, taxonomy.json, quarantine.jsonl, dataset.json, and further formats.
        metrics: Rows read, kept, and left out by reason; rows by split.
        report: The dataset as a page.
        text_field: Column of the text, a path (note.body), or a template ({title}: {note}).
        label_field: Column or path of the label; domains[].name takes one from each element of a list.
        label_separator: What stands between several labels in one cell.
        multi_label: Whether a row can have several labels; each brings its parents in the taxonomy.
        id_field: Column or path of the row's id; empty makes ids from the texts.
        source_field: Column or path that says where a row came from; a slice in evaluation.
        image_field: Column or path of an image's URI.
        metadata_fields: Columns or paths to keep, separated by commas; name=path renames one.
        split_field: Column that says train, valid or test; where it is empty, the hash of the text decides.
        test_data: Files like data whose rows are the test split.
        taxonomy: URI of a YAML or JSON file of the labels; empty infers them from the data.
        source_format: csv, tsv, json, jsonl, parquet or a transformer's name; empty goes by each file's ending.
        delimiter: Of CSV files; empty finds it.
        encoding: Of text files.
        mask_personal_data: Replace e-mail addresses, phone numbers, URLs and @names before anything is written.
        max_characters: Longer texts are quarantined; 0 allows any.
        tokenizer: Directory, URI or hub id of the tokenizer that counts tokens; empty counts none.
        max_length_tokens: Where training cuts texts; the report says how many that are.
        max_tokens: Texts with more tokens are quarantined; 0 allows any.
        max_rejected_fraction: Stop if a larger share of the rows is quarantined.
        near_duplicate_threshold: Drop training rows so similar (Jaccard) to a validation or test row; 0 looks for none.
        rows: How many rows to keep, a stable choice; 0 keeps all.
        minimum_rows: Stop if fewer rows are kept; 0 also allows splits and labels without rows.
        valid_fraction: Share of rows to choose epochs on.
        test_fraction: Share of rows to judge the model on.
        max_per_label: Keep at most this many training rows a label; 0 keeps all.
        min_per_label: Leave out inferred labels with fewer texts; with a taxonomy, stop.
        formats: Further formats, separated by commas (prompt_completion, input_output, messages, gemini).
        prompt_template: URI of a Jinja2 file for the prompts of those formats; empty takes the shipped one.
        upload_root: URI of where to put the dataset, below training-data/; empty puts it nowhere else.
        data_fingerprint: From fingerprint_data; a cached dataset is used again only for the same. Written nowhere.
    """
    import shutil
    from pathlib import Path

    from tunelane_components.etl.build import build_dataset as build
    from tunelane_components.etl.metrics import dataset_metrics
    from tunelane_components.etl.progress import say_progress
    from tunelane_components.leaving import leave_quickly

    leave_quickly()
    built = build(
        data,
        Path(dataset.path),
        text_field=text_field,
        label_field=label_field,
        label_separator=label_separator,
        multi_label=multi_label,
        id_field=id_field,
        source_field=source_field,
        image_field=image_field,
        metadata_fields=metadata_fields,
        split_field=split_field,
        test_data=test_data,
        taxonomy=taxonomy,
        source_format=source_format,
        delimiter=delimiter,
        encoding=encoding,
        mask_personal_data=mask_personal_data,
        max_characters=max_characters,
        tokenizer=tokenizer,
        max_length_tokens=max_length_tokens,
        max_tokens=max_tokens,
        max_rejected_fraction=max_rejected_fraction,
        near_duplicate_threshold=near_duplicate_threshold,
        rows=rows,
        minimum_rows=minimum_rows,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        max_per_label=max_per_label,
        min_per_label=min_per_label,
        formats=formats,
        prompt_template=prompt_template,
        upload_root=upload_root,
        progress=say_progress(),
    )
    dataset.metadata["digest"] = built.summary.digest
    dataset.metadata["taxonomy_digest"] = built.summary.taxonomy_digest
    dataset.metadata["rows"] = built.summary.rows_kept
    dataset.metadata["uploaded_to"] = built.uploaded_to
    for name, value in dataset_metrics(built.summary).items():
        metrics.log_metric(name, value)
    shutil.copyfile(Path(dataset.path) / "dataset.html", report.path)

"""Labelled text to a dataset: JSONL splits, the taxonomy, the quarantine, and a summary that adds up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tunelane_components.etl.cleaning import Fields, clean_rows
from tunelane_components.etl.record import Record
from tunelane_components.etl.sources import read_rows
from tunelane_components.etl.split import SPLITS, Split, check_fractions, keep_rows, split_of_digest
from tunelane_components.etl.taxonomy import infer_taxonomy, load_taxonomy
from tunelane_serving.contract import read, read_lines, write, write_lines
from tunelane_serving.errors import InputError
from tunelane_serving.files import directory_written_atomically, sha256_bytes, sha256_file
from tunelane_serving.taxonomy import Taxonomy

SUMMARY = "dataset.json"
TAXONOMY = "taxonomy.json"
QUARANTINE = "quarantine.jsonl"


class DatasetOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a dataset was asked for. `rows` 0 means all."""

    fields: Fields
    taxonomy_given: bool
    rows: int
    minimum_rows: int
    valid_fraction: float
    test_fraction: float


class DatasetSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dataset holds and what became of every row that was read.

    rows_read == rows_kept + all quarantined + rows_merged + rows_cut, and the counts of the splits sum to rows_kept.

    `digest` is the SHA-256 over names and digests of the splits and the taxonomy: what a model comes from.
    `sources` counts kept rows by source ("" for those without one). `repeated_ids` are records whose id in the data
    other texts had too.
    """

    digest: str
    taxonomy_digest: str
    data_file: str
    data_sha256: str
    options: DatasetOptions
    rows_read: int
    rows_kept: int
    rows_merged: int
    rows_cut: int
    quarantined: dict[str, int]
    conflicting_texts: int
    repeated_ids: int
    labels: dict[Split, dict[str, int]]
    sources: dict[str, int]
    files: dict[str, str]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        if self.rows_read != self.rows_kept + self.rows_quarantined + self.rows_merged + self.rows_cut:
            raise ValueError("rows_read: is not the sum of rows kept, quarantined, merged and cut")
        if self.rows_kept != sum(map(self.rows_of, self.labels)):
            raise ValueError("rows_kept: is not the sum of the splits")

    @property
    def rows_quarantined(self) -> int:
        """Rows quarantined, for whatever reason."""
        return sum(self.quarantined.values())

    def rows_of(self, split: Split) -> int:
        """Rows of one split."""
        return sum(self.labels[split].values())


def build_dataset(
    data: Path,
    output: Path,
    *,
    text_field: str = "text",
    label_field: str = "label",
    id_field: str = "",
    source_field: str = "",
    taxonomy: Path | None = None,
    rows: int = 0,
    minimum_rows: int = 50,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> DatasetSummary:
    """Check and split the labelled text in `data`; write the dataset's directory `output`, whole or not at all.

    The same rows and options, in whatever order, give byte-identical splits and the same digest.

    Args:
        data: a CSV, TSV, JSON or JSONL file.
        output: the directory to write: train.jsonl, valid.jsonl, test.jsonl, taxonomy.json, quarantine.jsonl and
            dataset.json. An existing one is replaced.
        text_field: the column of the text.
        label_field: the column of the label, one a row.
        id_field: the column of the row's id; empty: ids are made from the texts.
        source_field: the column that says where a row came from; empty: there is none.
        taxonomy: a YAML or JSON file of the labels; None: the labels found in the data, in alphabetical order.
        rows: keep this many rows, a stable choice in which a smaller number is part of a larger; 0 keeps all.
        minimum_rows: stop if fewer are kept.
        valid_fraction: the share of rows to choose epochs and thresholds on.
        test_fraction: the share of rows to judge the model on.

    Raises:
        InputError: the data, the taxonomy or an option cannot be used, or too few rows are left.
    """
    check_fractions(valid_fraction, test_fraction)
    if rows < 0:
        raise InputError(f"rows={rows}: pass 0 for all rows, or how many to keep.")
    given = load_taxonomy(taxonomy) if taxonomy else None
    fields = Fields(text=text_field, label=label_field, id=id_field, source=source_field)
    raw_rows = list(read_rows(data))
    cleaned = clean_rows(raw_rows, data.name, fields, given)
    kept = keep_rows(cleaned.records, rows) if rows else set(cleaned.records)
    if len(kept) < minimum_rows:
        raise InputError(
            f"{data.name}: {len(kept)} rows are left of {len(raw_rows)} read ({len(cleaned.quarantined)} quarantined, "
            f"{cleaned.merged} duplicates, {len(cleaned.records) - len(kept)} cut); {minimum_rows} are needed. "
            "Add rows, or pass --set minimum_rows=N."
        )
    # Of all records: the labels of a task do not depend on how many of its rows a run takes.
    labels = given or infer_taxonomy(record.labels[0] for record in cleaned.records.values())
    splits: dict[Split, list[Record]] = {split: [] for split in SPLITS}
    for digest in sorted(kept):
        splits[split_of_digest(digest, valid_fraction, test_fraction)].append(cleaned.records[digest])
    counts = {split: _count_labels(records, labels) for split, records in splits.items()}
    _require_enough(counts, data.name)

    with directory_written_atomically(output) as directory:
        for split, records in splits.items():
            write_lines(split_path(directory, split), records)
        write(directory / TAXONOMY, labels)
        write_lines(directory / QUARANTINE, cleaned.quarantined)
        content = [split_path(directory, split) for split in SPLITS] + [directory / TAXONOMY]
        files = {path.name: sha256_file(path) for path in [*content, directory / QUARANTINE]}
        summary = DatasetSummary(
            digest=sha256_bytes("".join(f"{path.name} {files[path.name]}\n" for path in content).encode()),
            taxonomy_digest=labels.digest,
            data_file=data.name,
            data_sha256=sha256_file(data),
            options=DatasetOptions(
                fields=fields,
                taxonomy_given=given is not None,
                rows=rows,
                minimum_rows=minimum_rows,
                valid_fraction=valid_fraction,
                test_fraction=test_fraction,
            ),
            rows_read=len(raw_rows),
            rows_kept=len(kept),
            rows_merged=cleaned.merged,
            rows_cut=len(cleaned.records) - len(kept),
            quarantined=_sorted_counts(row.reason for row in cleaned.quarantined),
            conflicting_texts=cleaned.conflicting_texts,
            repeated_ids=cleaned.repeated_ids,
            labels=counts,
            sources=_sorted_counts(str(cleaned.records[digest].meta.get("source", "")) for digest in kept),
            files=files,
        )
        write(directory / SUMMARY, summary)
    return summary


def split_path(directory: Path, split: Split) -> Path:
    """Where a dataset keeps one split."""
    return directory / f"{split}.jsonl"


def read_split(directory: Path, split: Split) -> list[Record]:
    """Read the records of one split, in the order of their texts' digests.

    Raises:
        ContractError: the file is missing or a line breaks the contract.
    """
    return list(read_lines(split_path(directory, split), Record))


def read_taxonomy(directory: Path) -> Taxonomy:
    """Read a dataset's taxonomy; raises ContractError if it is missing or broken."""
    return read(directory / TAXONOMY, Taxonomy)


def read_summary(directory: Path) -> DatasetSummary:
    """Read a dataset's summary; raises ContractError if it is missing or broken."""
    return read(directory / SUMMARY, DatasetSummary)


def _count_labels(records: Sequence[Record], taxonomy: Taxonomy) -> dict[str, int]:
    """Count records by label, labels without any included."""
    counts = Counter(record.labels[0] for record in records)
    return {name: counts[name] for name in taxonomy.names}


def _sorted_counts(items: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(items).items()))


def _require_enough(counts: dict[Split, dict[str, int]], name: str) -> None:
    """Stop where a split has no rows or a label has none to train on."""
    total = sum(sum(by_label.values()) for by_label in counts.values())
    for split, by_label in counts.items():
        if not any(by_label.values()):
            raise InputError(
                f"{name}: split {split} has 0 of {total} rows, 1 is needed. Add rows, or raise its fraction."
            )
    for label, count in counts["train"].items():
        if not count:
            elsewhere = sum(by_label[label] for by_label in counts.values())
            raise InputError(
                f"{name}: label {label!r} has 0 rows to train on ({elsewhere} in valid and test), 1 is needed. "
                "Add rows of it, keep more rows, or take it out of the data and the taxonomy."
            )

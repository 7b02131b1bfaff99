"""The dataset's directory: JSONL splits, the taxonomy, the quarantine, and a summary that adds up."""

from pathlib import Path
from typing import Literal

import msgspec

from tunelane_components.etl.options import DatasetOptions
from tunelane_components.etl.record import Record
from tunelane_components.etl.sources.facts import SourceFacts
from tunelane_components.etl.split import Split
from tunelane_serving.contract import read, read_lines
from tunelane_serving.taxonomy import Taxonomy

SUMMARY = "dataset.json"
TAXONOMY = "taxonomy.json"
QUARANTINE = "quarantine.jsonl"
STATISTICS = "statistics.json"
REPORT = "dataset.html"


class DatasetSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a dataset holds and what became of every row that was read.

    rows_read is the sum of rows kept, quarantined, merged, cut, leaked, near-duplicate and over the cap; the rows of
    the splits sum to rows_kept.

    Attributes:
        digest: the SHA-256 over names and digests of the splits and the taxonomy: what a model comes from.
        data_file: the data as it was named: a file, a folder, a pattern.
        data_sha256: the file's SHA-256; of several files, that over their names and digests.
        rows_merged: rows whose text (normalised) and labels another row has.
        rows_cut: more than `rows` asked for.
        rows_leaked: rows whose text also stands in a split that was given to hold out (test before valid before train).
        rows_near_duplicate: training rows that nearly repeat a validation or test row.
        rows_over_cap: training rows above `max_per_label`.
        quarantined: rows by reason.
        conflicting_texts: texts that stand under several labels.
        repeated_ids: kept records whose id in the data other texts had, too.
        labels: rows by split and label; a row with several labels counts for each.
        sources: kept rows by `meta["source"]` ("" for those without one).
        files: SHA-256 by file, relative to the dataset.
        rows_by_split: empty in datasets written before it was there: then the labels sum to it.
        inputs: every file that was read, as it was found to be.
        ignored_files: files of the folder that are no rows by their names.
        personal_data: what was masked, by kind.
        class_weights: for the trainer. One label a row: n / (k * n_label) over the n training rows and k labels, the
            "balanced" weights of scikit-learn's compute_class_weight. Several: (n - n_label) / n_label, the pos_weight
            of PyTorch's BCEWithLogitsLoss. A label without training rows has none.
        warnings: what a person should look at, a sentence each.
        options_digest: SHA-256 of the options' canonical JSON.
        input_digest: SHA-256 over the inputs, the options and the version of this code: a rebuild with the same one has
            nothing to do.
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
    rows_leaked: int = 0
    rows_near_duplicate: int = 0
    rows_over_cap: int = 0
    rows_by_split: dict[Split, int] = {}
    inputs: tuple[SourceFacts, ...] = ()
    ignored_files: tuple[str, ...] = ()
    personal_data: dict[str, int] = {}
    class_weights: dict[str, float] = {}
    warnings: tuple[str, ...] = ()
    options_digest: str = ""
    input_digest: str = ""

    def __post_init__(self) -> None:
        left_out = self.rows_merged + self.rows_cut + self.rows_leaked + self.rows_near_duplicate + self.rows_over_cap
        if self.rows_read != self.rows_kept + self.rows_quarantined + left_out:
            raise ValueError("rows_read: is not the sum of rows kept, quarantined, merged, cut and dropped")
        if self.rows_kept != sum(map(self.rows_of, self.labels)):
            raise ValueError("rows_kept: is not the sum of the splits")

    @property
    def rows_quarantined(self) -> int:
        """Rows quarantined, for whatever reason."""
        return sum(self.quarantined.values())

    def rows_of(self, split: Split) -> int:
        """Rows of one split."""
        return self.rows_by_split[split] if self.rows_by_split else sum(self.labels[split].values())


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

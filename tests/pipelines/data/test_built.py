"""The closing table of a build."""

from pathlib import Path

import msgspec
import pytest

from tunelane_components.etl.build import Build
from tunelane_components.etl.dataset import DatasetSummary
from tunelane_components.etl.options import DatasetOptions, Fields
from tunelane_pipelines.data.built import print_built

_OPTIONS = DatasetOptions(
    fields=Fields(), taxonomy_given=False, rows=0, minimum_rows=50, valid_fraction=0.1, test_fraction=0.1
)
_SUMMARY = DatasetSummary(
    digest="d" * 64,
    taxonomy_digest="e" * 64,
    data_file="tickets.csv",
    data_sha256="f" * 64,
    options=_OPTIONS,
    rows_read=1_234_567,
    rows_kept=1_234_000,
    rows_merged=500,
    rows_cut=0,
    rows_leaked=3,
    rows_near_duplicate=40,
    rows_over_cap=2,
    quarantined={"empty_text": 2, "unknown_label": 20},
    conflicting_texts=0,
    repeated_ids=0,
    labels={"train": {"a": 1_000_000}, "valid": {"a": 117_000}, "test": {"a": 117_000}},
    sources={},
    files={},
)


def _printed(capsys: pytest.CaptureFixture[str], build: Build, output: Path = Path("dataset")) -> list[str]:
    print_built(build, output, is_plain=True)
    return capsys.readouterr().out.splitlines()


def test_every_row_that_was_read_is_in_the_table_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, Build(_SUMMARY, True, ""))
    start = next(place for place, line in enumerate(lines) if line.startswith("Rows "))
    fates = [line.removeprefix("Rows").split(maxsplit=1) for line in lines[start : start + 6]]
    assert [said.split(":")[0] for _, said in fates] == [
        "kept",
        "merged",
        "dropped",
        "dropped",
        "dropped",
        "quarantined",
    ]
    assert sum(int(count.replace(",", "")) for count, _ in fates) == 1_234_567
    assert lines[0].endswith("1,234,567 rows of tickets.csv")
    assert "Splits       train 1,000,000, valid 117,000, test 117,000" in lines
    # The most frequent reason first.
    assert "Quarantined  unknown_label 20, empty_text 2" in lines
    assert lines[-1] == "Next         tunelane data split-check dataset"


def test_what_did_not_happen_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    summary = msgspec.structs.replace(
        _SUMMARY,
        rows_read=1_234_000,
        rows_merged=0,
        rows_leaked=0,
        rows_near_duplicate=0,
        rows_over_cap=0,
        quarantined={},
    )
    lines = _printed(capsys, Build(summary, True, ""))
    assert [line.split()[0] for line in lines] == ["Read", "Rows", "Splits", "Digest", "Dataset", "Report", "Next"]


def test_warnings_what_was_masked_and_where_it_was_uploaded_stand_there(capsys: pytest.CaptureFixture[str]) -> None:
    summary = msgspec.structs.replace(
        _SUMMARY, personal_data={"email": 12, "url": 1_000}, warnings=tuple(f"Warning {n}." for n in range(12))
    )
    lines = _printed(capsys, Build(summary, True, "gs://bucket/training-data/20260101T000000Z-dddddddddddd"))
    assert "Masked       email 12, url 1,000" in lines
    start = lines.index("Warnings     Warning 0.")
    assert [line.strip() for line in lines[start + 1 : start + 11]] == [
        *(f"Warning {n}." for n in range(1, 10)),
        "and 2 more, in the report",
    ]
    assert "Uploaded     gs://bucket/training-data/20260101T000000Z-dddddddddddd" in lines


def test_a_dataset_that_was_there_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, Build(_SUMMARY, False, ""), Path("my data"))
    assert lines[0] == "Nothing to do: my data holds this dataset already, from the same data and parameters."
    assert lines[-1] == "Next         tunelane data split-check 'my data'"

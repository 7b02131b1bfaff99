from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunelane_components.etl.dataset import DatasetSummary, build_dataset
from tunelane_components.etl.report import render, section
from tunelane_serving.contract import read


@pytest.fixture
def summary(tickets: list[dict[str, Any]], write_jsonl: Callable[..., Path], tmp_path: Path) -> DatasetSummary:
    rows = [*tickets, tickets[0], {"text": "", "label": "praise"}]
    return build_dataset(write_jsonl(rows), tmp_path / "dataset", source_field="channel", rows=200)


def _with_labels(summary: DatasetSummary, labels: dict[Any, dict[str, int]]) -> DatasetSummary:
    rows = sum(sum(counts.values()) for counts in labels.values())
    return msgspec.structs.replace(
        summary, labels=labels, rows_kept=rows, rows_read=rows, rows_merged=0, rows_cut=0, quarantined={}
    )


def test_it_says_what_became_of_every_row(summary: DatasetSummary, read_page: Callable[[str], Any]) -> None:
    text = read_page(section(summary)).text
    for said in ("Rows read 302", "Kept 200", "same text and label 1", "asked for 100", "Quarantined: empty text 1"):
        assert said in text
    assert "No row was quarantined" not in text


def test_it_shows_labels_by_split_sources_and_digests(summary: DatasetSummary, read_page: Callable[[str], Any]) -> None:
    text = read_page(section(summary)).text
    counts = " · ".join(f"{split} {summary.labels[split]['billing']}" for split in ("train", "valid", "test"))
    assert f"billing {counts}" in text
    for said in ("mail", "form", "tickets.jsonl", summary.digest, summary.taxonomy_digest, summary.data_sha256):
        assert said in text


def test_a_dataset_without_sources_shows_none(summary: DatasetSummary, read_page: Callable[[str], Any]) -> None:
    without = msgspec.structs.replace(summary, sources={"": summary.rows_kept})
    assert "Sources" not in read_page(section(without)).text


def test_the_golden_summary_is_drawn(check_page: Callable[[str], None]) -> None:
    check_page(render(read(Path(__file__).parent / "golden" / "dataset.v1.json", DatasetSummary)))


def test_a_split_without_rows_and_hostile_names_are_drawn(
    summary: DatasetSummary,
    hostile_names: tuple[str, ...],
    read_page: Callable[[str], Any],
    check_page: Callable[[str], None],
) -> None:
    counts = dict.fromkeys(hostile_names, 3)
    changed = _with_labels(summary, {"train": counts, "valid": counts, "test": dict.fromkeys(hostile_names, 0)})
    changed = msgspec.structs.replace(changed, sources=counts, data_file=hostile_names[0], repeated_ids=2)
    html = render(changed)
    shown = read_page(html)
    assert "script" not in shown.tags
    assert all(name in shown.text for name in hostile_names)
    check_page(html)


def test_fifty_labels_fit(summary: DatasetSummary, check_page: Callable[[str], None]) -> None:
    counts = {f"a label of some length, number {number}": 10 * number for number in range(50)}
    check_page(render(_with_labels(summary, {"train": counts, "valid": counts, "test": counts})))

"""Caps, rare labels, and the weights that are written for the trainer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import DatasetSummary, read_split, read_taxonomy
from tunelane_components.etl.record import Record
from tunelane_components.etl.rows.candidates import QuarantinedRow
from tunelane_serving.contract import read_lines
from tunelane_serving.errors import InputError

Rows = list[dict[str, Any]]


@pytest.fixture
def skewed() -> Rows:
    """900 rows under "often", 90 under "seldom", 4 under "once"."""
    labels = ["often"] * 900 + ["seldom"] * 90 + ["once"] * 4
    return [{"text": f"note {number}", "label": label} for number, label in enumerate(labels)]


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., DatasetSummary]:
    def run(rows: Rows, out: str = "out", **options: Any) -> DatasetSummary:
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return build_dataset(str(data), tmp_path / out, near_duplicate_threshold=0.0, **options).summary

    return run


def train_of(directory: Path) -> list[Record]:
    return read_split(directory, "train")


def test_a_cap_holds_for_training_rows_alone(skewed: Rows, build: Callable[..., DatasetSummary]) -> None:
    free = build(skewed, "free")
    capped = build(skewed, max_per_label=100)
    assert capped.labels["train"] == {
        "often": 100,
        "once": free.labels["train"]["once"],
        "seldom": free.labels["train"]["seldom"],
    }
    assert capped.labels["test"] == free.labels["test"]
    assert capped.labels["valid"] == free.labels["valid"]
    assert capped.rows_over_cap == free.rows_of("train") - capped.rows_of("train")


def test_a_smaller_cap_keeps_a_part_of_what_a_larger_one_keeps(
    skewed: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    for cap in (50, 200):
        build(skewed, str(cap), max_per_label=cap)
    assert {row.id for row in train_of(tmp_path / "50")} < {row.id for row in train_of(tmp_path / "200")}


def test_a_row_of_several_labels_stays_while_one_of_them_has_room(
    build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    rows = [
        {"text": f"note {number}", "label": ["often", "seldom"] if number % 20 == 0 else ["often"]}
        for number in range(1_000)
    ]
    summary = build(rows, max_per_label=60, multi_label=True)
    train = train_of(tmp_path / "out")
    assert sum("seldom" in row.labels for row in train) == summary.labels["train"]["seldom"] <= 60
    assert sum(row.labels == ("often",) for row in train) <= 60


def test_rare_labels_are_left_out_of_an_inferred_taxonomy_and_their_rows_quarantined(
    skewed: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    summary = build(skewed, min_per_label=10)
    assert read_taxonomy(tmp_path / "out").names == ("often", "seldom")
    assert summary.quarantined == {"rare_label": 4}
    assert summary.rows_read == 994 == summary.rows_kept + 4
    found = read_lines(tmp_path / "out" / "quarantine.jsonl", QuarantinedRow)
    rows = sorted(found, key=lambda row: row.line)
    assert [row.line for row in rows] == [991, 992, 993, 994]
    assert rows[0].detail == "'once': fewer than 10 texts"
    assert rows[0].row == skewed[990]


def test_a_rare_label_leaves_a_row_that_has_others(build: Callable[..., DatasetSummary], tmp_path: Path) -> None:
    rows: Rows = [{"text": f"note {number}", "label": ["a", "b"][: 1 + number % 2]} for number in range(200)]
    rows[0]["label"] = ["a", "rare"]
    summary = build(rows, min_per_label=5, multi_label=True)
    assert summary.rows_kept == 200
    assert read_taxonomy(tmp_path / "out").names == ("a", "b")
    assert all("rare" not in row.labels for row in train_of(tmp_path / "out"))


def test_a_given_taxonomy_is_a_promise_that_rare_labels_break(
    skewed: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    taxonomy = tmp_path / "labels.yaml"
    taxonomy.write_text("labels: [often, seldom, once]")
    with pytest.raises(InputError, match=r"label 'once' has 4 rows, 10 are needed \(min_per_label\)\."):
        build(skewed, min_per_label=10, taxonomy=str(taxonomy))


def test_weights_are_written_for_every_label_with_training_rows(
    skewed: Rows, build: Callable[..., DatasetSummary]
) -> None:
    summary = build(skewed)
    rows, train = summary.rows_of("train"), summary.labels["train"]
    assert summary.class_weights == {label: pytest.approx(rows / (3 * count)) for label, count in train.items()}

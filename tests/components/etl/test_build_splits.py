"""What stands in which split, and what is dropped so that nothing leaks."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.dataset import DatasetSummary, read_split
from tunelane_components.etl.split import SPLITS
from tunelane_serving.errors import InputError

Rows = list[dict[str, Any]]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence(generator: random.Random) -> str:
    """Give twelve made-up words."""
    return " ".join("".join(generator.choices(LETTERS, k=6)) for _ in range(12))


@pytest.fixture
def notes() -> Rows:
    """1,000 texts of 12 words that have nothing in common, under two labels."""
    generator = random.Random(7)  # noqa: S311 - no secret
    return [
        {"id": f"n{number}", "text": sentence(generator), "label": ("good", "bad")[number % 2]}
        for number in range(1_000)
    ]


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., DatasetSummary]:
    """Build rows, given as lists by file name, into `tmp_path / out`."""

    def run(rows: Rows | dict[str, Rows], out: str = "out", **options: Any) -> DatasetSummary:
        folder = tmp_path / f"{out}-data"
        folder.mkdir()
        for name, of_file in (rows if isinstance(rows, dict) else {"rows.jsonl": rows}).items():
            (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in of_file))
        return build_dataset(str(folder), tmp_path / out, id_field="id", **options).summary

    return run


def splits_of(directory: Path) -> dict[str, str]:
    return {record.id: split for split in SPLITS for record in read_split(directory, split)}


def nearly(text: str) -> str:
    """Give a text that nearly repeats another: a word more."""
    return f"{text} indeed"


def test_new_rows_and_near_duplicates_of_old_ones_move_no_old_row(
    notes: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    old, fresh = notes[:900], notes[900:]
    build(old, "before")
    generator = random.Random(1)  # noqa: S311 - no secret
    repeats = [
        {"id": f"r{number}", "text": nearly(row["text"]), "label": row["label"]}
        for number, row in enumerate(generator.sample(old, 60))
    ]
    added = [*old, *fresh[:30], *repeats]
    generator.shuffle(added)
    summary = build(added, "after")
    before, after = splits_of(tmp_path / "before"), splits_of(tmp_path / "after")
    assert len(before) == 900
    stayed = before.keys() & after.keys()
    assert all(after[key] == before[key] for key in stayed)
    # A training row is dropped where a new held-out row nearly repeats it; none of the held-out rows ever is.
    gone = before.keys() - after.keys()
    assert {before[key] for key in gone} <= {"train"}
    repeated_held_out = [row for row in repeats if after.get(row["id"]) in ("valid", "test")]
    assert len(gone) <= len(repeated_held_out)
    assert summary.rows_near_duplicate == 990 - len(after)
    assert summary.rows_near_duplicate > 0


def test_a_training_row_that_nearly_repeats_a_held_out_row_is_dropped_and_counted(
    notes: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    build(notes, "plain")
    held_out = [key for key, split in splits_of(tmp_path / "plain").items() if split != "train"]
    by_id = {row["id"]: row for row in notes}
    repeats = [{**by_id[key], "id": f"r-{key}", "text": nearly(by_id[key]["text"])} for key in held_out]
    with_repeats = build([*notes, *repeats], "off", near_duplicate_threshold=0.0)
    in_train = {key for key, split in splits_of(tmp_path / "off").items() if split == "train" and key.startswith("r-")}
    assert with_repeats.rows_near_duplicate == 0
    searched = build([*notes, *repeats], "on", near_duplicate_threshold=0.8)
    assert in_train
    assert in_train.isdisjoint(splits_of(tmp_path / "on"))
    # The repeats that were held out themselves cost the training rows that they repeat.
    assert searched.rows_near_duplicate >= len(in_train)
    assert searched.rows_read == searched.rows_kept + searched.rows_near_duplicate


def test_a_given_split_is_honoured_and_the_hash_decides_the_rest(
    notes: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    build(notes, "hashed")
    hashed = splits_of(tmp_path / "hashed")
    for number, row in enumerate(notes):
        row["part"] = ("test", "valid", "train", "")[number % 4]
    build(notes, split_field="part")
    found = splits_of(tmp_path / "out")
    for row in notes:
        assert found[row["id"]] == (row["part"] or hashed[row["id"]])


def test_rows_of_a_given_test_file_are_the_test_split_and_no_other_row_is(notes: Rows, tmp_path: Path) -> None:
    files = {"data.jsonl": notes[:800], "held.jsonl": notes[800:]}
    for name, rows in files.items():
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    summary = build_dataset(
        str(tmp_path / "data.jsonl"), tmp_path / "out", id_field="id", test_data=str(tmp_path / "held.jsonl")
    ).summary
    by_split = {split: {record.id for record in read_split(tmp_path / "out", split)} for split in SPLITS}
    assert by_split["test"] == {row["id"] for row in notes[800:]}
    assert len(by_split["valid"]) == pytest.approx(80, abs=25)
    assert [facts.name for facts in summary.inputs] == ["data.jsonl", "held.jsonl"]


def test_a_training_row_whose_text_is_held_out_leaks_and_is_left_out(
    notes: Rows, build: Callable[..., DatasetSummary], tmp_path: Path
) -> None:
    for number, row in enumerate(notes):
        row["part"] = ("train", "train", "valid", "test")[number % 4]
    leaks = [
        # Under another label, too: the held-out row is what counts.
        {"id": "x1", "text": notes[3]["text"].upper(), "label": "good", "part": "train"},
        {"id": "x2", "text": f" {notes[7]['text']} ", "label": "bad", "part": "valid"},
        {"id": "x3", "text": notes[2]["text"], "label": "good", "part": "train"},
    ]
    summary = build([*leaks, *notes], split_field="part")
    found = splits_of(tmp_path / "out")
    assert summary.rows_leaked == 3
    assert summary.rows_merged == 0
    assert not {"x1", "x2", "x3"} & found.keys()
    assert (found["n3"], found["n7"], found["n2"]) == ("test", "test", "valid")


def test_conflicts_among_held_out_rows_are_quarantined_not_leaked(
    notes: Rows, build: Callable[..., DatasetSummary]
) -> None:
    for row in notes:
        row["part"] = ""
    twice = [
        {"id": "y1", "text": "one text", "label": "good", "part": "test"},
        {"id": "y2", "text": "one text", "label": "bad", "part": "test"},
        {"id": "y3", "text": "one text", "label": "bad", "part": "train"},
    ]
    summary = build([*notes, *twice], split_field="part")
    assert summary.quarantined == {"conflicting_labels": 2}
    assert summary.rows_leaked == 1


def test_fractions_hold_within_one_point_at_ten_thousand_rows(
    build: Callable[..., DatasetSummary],
) -> None:
    rows = [{"id": str(n), "text": f"row {n} of many", "label": "ab"[n % 2]} for n in range(10_000)]
    summary = build(rows, near_duplicate_threshold=0.0, valid_fraction=0.15, test_fraction=0.25)
    assert summary.rows_of("valid") / 10_000 == pytest.approx(0.15, abs=0.01)
    assert summary.rows_of("test") / 10_000 == pytest.approx(0.25, abs=0.01)


def test_a_split_of_another_name_is_quarantined(notes: Rows, build: Callable[..., DatasetSummary]) -> None:
    notes[5]["part"] = "dev"
    summary = build(notes, split_field="part")
    assert summary.quarantined == {"unknown_split": 1}


def test_few_rows_of_a_label_in_a_split_are_a_warning(notes: Rows, build: Callable[..., DatasetSummary]) -> None:
    for row in notes[:12]:
        row["label"] = "rare"
    summary = build(notes)
    counts = Counter({split: summary.labels[split]["rare"] for split in SPLITS})
    assert [warning for warning in summary.warnings if "rare" in warning]
    for split in ("valid", "test"):
        said = any(f"rows in {split}: rare ({counts[split]})" in warning for warning in summary.warnings)
        assert said == (counts[split] < 5)


def test_no_rows_for_a_split_stop_unless_no_minimum_is_asked_for(
    notes: Rows, build: Callable[..., DatasetSummary]
) -> None:
    for row in notes:
        row["part"] = "train"
    with pytest.raises(InputError, match="split valid has 0 of 1000 rows"):
        build(notes, "stops", split_field="part")
    summary = build(notes, split_field="part", minimum_rows=0)
    assert "Split valid has no rows." in summary.warnings
    assert "Split test has no rows." in summary.warnings


def test_a_test_file_of_the_same_name_is_told_apart(notes: Rows, tmp_path: Path) -> None:
    for folder, rows in (("train", notes[:800]), ("test", [*notes[800:], {"id": "bad", "text": "", "label": "good"}])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    data, test_data = (str(tmp_path / folder / "rows.jsonl") for folder in ("train", "test"))
    summary = build_dataset(data, tmp_path / "out", id_field="id", test_data=test_data).summary
    assert [facts.name for facts in summary.inputs] == ["rows.jsonl", "test_data/rows.jsonl"]
    (quarantined,) = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(quarantined)["file"] == "test_data/rows.jsonl"
    assert not build_dataset(data, tmp_path / "out", id_field="id", test_data=test_data).is_new

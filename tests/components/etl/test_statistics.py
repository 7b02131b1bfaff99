"""What is measured of a dataset: bounded, the same twice, and right."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl import confusable, statistics
from tunelane_components.etl.dataset import STATISTICS
from tunelane_components.etl.record import Record, text_digest
from tunelane_components.etl.split import SPLITS, Split, split_of
from tunelane_components.etl.statistics import DatasetStatistics, measure, read_statistics
from tunelane_components.etl.tokens import load_tokenizer
from tunelane_serving.contract import read, write, write_lines
from tunelane_serving.errors import ContractError
from tunelane_serving.taxonomy import Label, Taxonomy

GOLDEN = Path(__file__).parent / "golden" / "statistics.v1.json"

Rows = Sequence[tuple[str, tuple[str, ...]]]
WriteDataset = Callable[..., dict[Split, int]]


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    """Give a writer of splits and quarantine as a build leaves them; it gives the rows of each split."""

    def write_files(rows: Rows, quarantine: Sequence[Mapping[str, Any]] = ()) -> dict[Split, int]:
        splits: dict[Split, list[Record]] = {split: [] for split in SPLITS}
        for text, labels in sorted(rows, key=lambda row: text_digest(row[0])):
            splits[split_of(text, 0.1, 0.1)].append(Record(id=text_digest(text)[:16], text=text, labels=labels))
        for split, records in splits.items():
            write_lines(tmp_path / f"{split}.jsonl", records)
        lines = [json.dumps({"file": "a.csv", "detail": "broken"} | dict(row)) for row in quarantine]
        (tmp_path / "quarantine.jsonl").write_text("".join(line + "\n" for line in lines))
        return {split: len(records) for split, records in splits.items()}

    return write_files


def _taxonomy(*names: str, **parents: str) -> Taxonomy:
    return Taxonomy(tuple(Label(name, parent=parents.get(name, "")) for name in names))


_TWO = _taxonomy("bad", "good")
# Lengths 2 to 301, each once.
_TEXTS = [f"{number:x<{number}}" for number in range(2, 302)]
_ROWS: Rows = [(text, (("bad", "good")[number % 2],)) for number, text in enumerate(_TEXTS)]


def test_lengths_in_characters_are_those_of_the_texts(write_dataset: WriteDataset, tmp_path: Path) -> None:
    measured = measure(tmp_path, _TWO, write_dataset(_ROWS))
    lengths = measured.characters
    assert (measured.rows_measured, measured.rows_kept) == (300, 300)
    assert (lengths.p50, lengths.p90, lengths.p99, lengths.longest) == (151, 271, 298, 301)
    assert lengths.bin_width == 10
    # 2 to 10; ten lengths each; 301.
    assert lengths.bins == (9, *(10 for _ in range(29)), 1)
    assert lengths.beyond == 0
    assert (measured.tokens, measured.rows_truncated) == (None, 0)


def test_a_far_longer_text_does_not_press_the_others_together(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows = [(f"text {number:03}", ("bad",)) for number in range(199)]
    lengths = measure(tmp_path, _TWO, write_dataset([*rows, ("long " * 5_000, ("good",))])).characters
    assert lengths.longest == 25_000
    assert (lengths.bin_width, len(lengths.bins), sum(lengths.bins), lengths.beyond) == (1, 8, 199, 1)


def test_truncation_counts_the_rows_with_more_tokens_than_the_limit(
    write_dataset: WriteDataset, tiny_encoder: Path, tmp_path: Path
) -> None:
    rows = write_dataset([(f"good {'film ' * number}{number}", ("good",)) for number in range(100)])
    tokenizer = load_tokenizer(str(tiny_encoder), tmp_path)
    # Each text has its words and two special tokens: 4 to 103.
    measured = measure(tmp_path, _TWO, rows, tokenizer=tokenizer, max_length_tokens=64)
    assert measured.tokens is not None
    assert (measured.tokens.p50, measured.tokens.longest, measured.max_length_tokens) == (53, 103, 64)
    assert measured.rows_truncated == 39
    assert measure(tmp_path, _TWO, rows, tokenizer=tokenizer).rows_truncated == 0


@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=200))
def test_every_length_is_in_one_bin(lengths: list[int]) -> None:
    found = statistics._lengths(lengths)
    assert 1 <= len(found.bins) <= 40
    assert sum(found.bins) + found.beyond == len(lengths)
    end = len(found.bins) * found.bin_width
    assert found.beyond == sum(length > end for length in lengths)
    assert found.beyond <= len(lengths) / 100
    for place, count in enumerate(found.bins[1:], start=1):
        start = place * found.bin_width
        assert count == sum(start < length <= start + found.bin_width for length in lengths)
    for share, quantile in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        assert sum(length <= quantile for length in lengths) >= share * len(lengths)
        assert sum(length < quantile for length in lengths) < share * len(lengths)


def test_labels_that_stand_together_are_counted(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows: Rows = [
        *((f"one {number}", ("joy",)) for number in range(5)),
        *((f"two {number}", ("joy", "love")) for number in range(4)),
        *((f"three {number}", ("anger", "joy", "love")) for number in range(2)),
    ]
    measured = measure(tmp_path, _taxonomy("anger", "joy", "love"), write_dataset(rows))
    assert measured.labels_per_row == (5, 4, 2)
    pairs = [(pair.first, pair.second, pair.rows) for pair in measured.label_pairs]
    assert pairs == [("joy", "love", 6), ("anger", "joy", 2), ("anger", "love", 2)]


def test_a_label_and_the_one_above_it_are_no_pair(write_dataset: WriteDataset, tmp_path: Path) -> None:
    taxonomy = _taxonomy("care", "sleep", "food", sleep="care", food="care")
    rows = write_dataset([(f"note {number}", ("care", "sleep", "food")) for number in range(30)])
    measured = measure(tmp_path, taxonomy, rows)
    assert [(pair.first, pair.second) for pair in measured.label_pairs] == [("food", "sleep")]
    assert all("care" not in (pair.first, pair.second) for pair in measured.confusable)


def test_confusable_labels_share_words(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows: Rows = [
        *((f"parcel late delivery {number}", ("delivery",)) for number in range(20)),
        *((f"parcel late courier {100 + number}", ("courier",)) for number in range(20)),
        *((f"wrong invoice amount {200 + number}", ("billing",)) for number in range(20)),
    ]
    measured = measure(tmp_path, _taxonomy("delivery", "courier", "billing"), write_dataset(rows))
    first = measured.confusable[0]
    assert {first.first, first.second} == {"delivery", "courier"}
    assert {"parcel", "late"} <= set(first.shared_words)


def test_samples_are_training_rows_of_each_label_shortened(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows = [(f"{number} {'word ' * 300}", (("bad", "good")[number % 2],)) for number in range(40)]
    samples = measure(tmp_path, _taxonomy("bad", "good", "unseen"), write_dataset(rows)).samples
    assert {name: len(found) for name, found in samples.items()} == {"bad": 3, "good": 3, "unseen": 0}
    train = {record.id: record for record in _records(tmp_path / "train.jsonl")}
    for name in ("bad", "good"):
        for row in samples[name]:
            assert train[row.id].labels == (name,) == row.labels
            assert len(row.text) == 200
            assert train[row.id].text.startswith(row.text.removesuffix("…"))


def _records(path: Path) -> list[Record]:
    from tunelane_serving.contract import read_lines

    return list(read_lines(path, Record))


def test_three_quarantined_rows_of_each_reason_are_shown(write_dataset: WriteDataset, tmp_path: Path) -> None:
    quarantine = [
        {"line": line, "reason": reason, "row": {"text": "x" * 900, "label": "joy", "n": 1, "deep": {"a": [1, None]}}}
        for line in range(2, 9)
        for reason in ("unknown_label", "too_long")
    ]
    quarantine.append({"line": 9, "reason": "malformed_row", "row": 'a,"b\nc' + "d" * 5_000})
    rejected = measure(tmp_path, _TWO, write_dataset(_ROWS, quarantine)).rejected
    assert {reason: len(rows) for reason, rows in rejected.items()} == {
        "unknown_label": 3,
        "too_long": 3,
        "malformed_row": 1,
    }
    first = rejected["unknown_label"][0]
    assert (first.file, first.line, first.detail) == ("a.csv", 2, "broken")
    assert first.row.startswith('{"text": "xxx')
    # A long text does not hide what stands beside it.
    assert first.row.endswith('…", "label": "joy", "n": 1, "deep": {"a": [1, null]}}')
    assert rejected["malformed_row"][0].row.startswith('a,"b cddd')
    assert len(rejected["malformed_row"][0].row) == 200


@pytest.mark.parametrize(
    "row",
    [
        {},
        {f"column {number}": "x" * 300 for number in range(500)},
        {"nested": [[[[[[[[{"a": "b" * 9_000}]]]]]]]]},
        {"w" * 10_000: None},
        {"nul": "a\0b", "quotes": '"' * 500, "slashes": "\\" * 500, "emoji": "😀" * 500, "lines": "\u2028\n\r"},
        [1, 2, 3],
        None,
        "",
        1.5,
    ],
)
def test_whatever_was_quarantined_is_shown_in_a_line(row: Any, write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows = write_dataset(_ROWS, [{"line": 1, "reason": "malformed_row", "row": row}])
    (shown,) = measure(tmp_path, _TWO, rows).rejected["malformed_row"]
    assert len(shown.row) <= 400
    assert "\n" not in shown.row


def test_a_sample_takes_of_each_split_in_proportion(
    write_dataset: WriteDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_dataset([(f"text number {number}", ("bad",)) for number in range(1_000)])
    seen: list[str] = []
    monkeypatch.setattr(statistics, "_ROWS", 100)
    monkeypatch.setattr(confusable, "confusable_pairs", lambda texts, *_, **__: seen.extend(texts) or [])
    measured = measure(tmp_path, _TWO, rows)
    assert measured.rows_kept == 1_000
    assert 100 <= measured.rows_measured <= 102
    counts = Counter(split_of(text, 0.1, 0.1) for text in seen)
    assert all(abs(counts[split] - rows[split] / 10) <= 1 for split in SPLITS)


def test_of_long_texts_no_more_is_read_than_the_bound(
    write_dataset: WriteDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_dataset([(f"{number} {'x' * 1_000}", ("bad",)) for number in range(300)])
    monkeypatch.setattr(statistics, "_BYTES", 50_000)
    assert 40 <= measure(tmp_path, _TWO, rows).rows_measured <= 50


def test_the_same_files_give_the_same_statistics(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows = write_dataset(_ROWS)
    write(tmp_path / "first.json", measure(tmp_path, _TWO, rows))
    write_dataset(_ROWS[::-1])
    write(tmp_path / "second.json", measure(tmp_path, _TWO, rows))
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_five_hundred_labels_stay_within_bounds(write_dataset: WriteDataset, tmp_path: Path) -> None:
    names = [f"label number {number}" for number in range(500)]
    many = tuple(names)
    rows = write_dataset(
        [
            (f"{number} word{number % 9} {'long word ' * 40}", many if number % 50 == 0 else (names[number % 500],))
            for number in range(2_500)
        ]
    )
    measured = measure(tmp_path, _taxonomy(*names), rows)
    write(tmp_path / STATISTICS, measured)
    assert (tmp_path / STATISTICS).stat().st_size < 1_500_000
    assert len(measured.label_pairs) == len(measured.confusable) == 10
    assert len(measured.labels_per_row) == 500
    assert sum(measured.labels_per_row) == 2_500


def test_files_that_are_not_a_dataset_are_refused(write_dataset: WriteDataset, tmp_path: Path) -> None:
    rows = write_dataset(_ROWS)
    with pytest.raises(ContractError, match="hold no rows"):
        measure(tmp_path, _TWO, dict.fromkeys(SPLITS, 0))
    (tmp_path / "quarantine.jsonl").write_text('{"file": "a.csv"}\n')
    with pytest.raises(ContractError, match=r"quarantine\.jsonl:1: "):
        measure(tmp_path, _TWO, rows)
    (tmp_path / "quarantine.jsonl").unlink()
    with pytest.raises(ContractError, match=r"quarantine\.jsonl: No such file"):
        measure(tmp_path, _TWO, rows)


def test_a_dataset_without_statistics_has_none_and_broken_ones_are_refused(tmp_path: Path) -> None:
    assert read_statistics(tmp_path) is None
    (tmp_path / STATISTICS).write_text('{"version": 2}')
    with pytest.raises(ContractError, match="upgrade tunelane"):
        read_statistics(tmp_path)


def test_the_golden_statistics_load_for_ever(tmp_path: Path) -> None:
    golden = read(GOLDEN, DatasetStatistics)
    assert golden.tokens is not None
    assert (golden.rows_measured, golden.tokens.p50, golden.rows_truncated) == (260, 14, 5)
    assert golden.confusable[0].first == "billing"
    write(tmp_path / STATISTICS, golden)
    assert read_statistics(tmp_path) == golden
    assert (tmp_path / STATISTICS).read_bytes() == GOLDEN.read_bytes()

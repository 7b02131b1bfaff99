import csv
import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from benchmarks.scale import reviews
from tunelane_components.etl.record import normalized

ROWS = 60_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "reviews.csv"
    reviews.make_csv(path, ROWS, seed=1)
    return path


@pytest.fixture(scope="module")
def fields(made: Path) -> list[list[str]]:
    with made.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, strict=True))[1:]


def test_the_same_seed_gives_the_same_bytes_and_another_others(made: Path, tmp_path: Path) -> None:
    reviews.make_csv(tmp_path / "again.csv", ROWS, seed=1)
    reviews.make_csv(tmp_path / "other.csv", ROWS, seed=2)
    assert (tmp_path / "again.csv").read_bytes() == made.read_bytes()
    assert (tmp_path / "other.csv").read_bytes() != made.read_bytes()


def test_there_are_as_many_rows_as_were_asked_for_of_about_150_bytes(made: Path, fields: list[list[str]]) -> None:
    assert len(fields) == ROWS
    assert made.stat().st_size / ROWS == pytest.approx(150, rel=0.05)


def test_ids_ascend_with_the_lines_so_that_the_first_of_several_is_the_smallest(fields: list[list[str]]) -> None:
    ids = [row[0] for row in fields]
    assert ids == sorted(set(ids))


def test_bad_rows_stand_at_their_shares(fields: list[list[str]]) -> None:
    widths = Counter(map(len, fields))
    good_width = [row for row in fields if len(row) == len(reviews.HEADER)]
    shares = {
        reviews.TOO_MANY_FIELDS: widths[5],
        reviews.TOO_FEW_FIELDS: widths[2],
        reviews.EMPTY_TEXTS: sum(not row[1].strip() for row in good_width),
        reviews.MISSING_LABELS: sum(not row[2] for row in good_width),
    }
    assert set(widths) == {2, 4, 5}
    for share, found in shares.items():
        assert found / ROWS == pytest.approx(share, rel=0.4)


def test_duplicates_and_conflicts_stand_at_their_shares(fields: list[list[str]]) -> None:
    labels: dict[str, list[str]] = defaultdict(list)
    for row in fields:
        if len(row) == len(reviews.HEADER) and row[1].strip() and row[2]:
            labels[normalized(row[1])].append(row[2])
    repeated = sum(len(each) - 1 for each in labels.values())
    conflicting = sum(len(set(each)) > 1 for each in labels.values())
    assert repeated / ROWS == pytest.approx(reviews.DUPLICATES, rel=0.15)
    assert conflicting / ROWS == pytest.approx(reviews.CONFLICTS, rel=0.4)
    assert {label for each in labels.values() for label in each} == set(reviews.LABELS)


def test_texts_need_what_makes_csv_and_unicode_hard(fields: list[list[str]]) -> None:
    texts = [row[1] for row in fields]
    for sign in (",", '"', "\n", "é", "⭐", "\u00a0", "½"):
        assert any(sign in text for text in texts), sign


def test_the_other_formats_hold_the_rows_with_all_fields(made: Path, fields: list[list[str]], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    expected = [dict(zip(reviews.HEADER, row, strict=True)) for row in fields if len(row) == len(reviews.HEADER)]
    reviews.make_parquet(made, tmp_path / "reviews.parquet")
    reviews.make_jsonl_gz(made, tmp_path / "reviews.jsonl.gz")
    with gzip.open(tmp_path / "reviews.jsonl.gz", "rt", encoding="utf-8") as stream:
        assert [json.loads(line) for line in stream] == expected
    assert pq.read_table(tmp_path / "reviews.parquet").to_pylist() == expected

from pathlib import Path

import pytest

from benchmarks.scale.comparing import compare

ROWS = ('{"id":"1","text":"a/b"}', '{"id":"2","text":"c"}', '{"id":"3","text":"d"}')


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return _write(tmp_path / "ours", {"train": ROWS, "valid": ROWS[:1], "test": ROWS[1:]})


def _write(directory: Path, rows: dict[str, tuple[str, ...]]) -> Path:
    directory.mkdir()
    for split, lines in rows.items():
        (directory / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines))
    return directory


def test_the_same_files_are_the_same_byte_for_byte(written: Path) -> None:
    compared = compare(written, written)
    assert (compared.is_same, compared.rows, compared.same_bytes) == (True, 6, 6)


def test_rows_that_are_written_otherwise_but_mean_the_same_are_the_same(written: Path, tmp_path: Path) -> None:
    escaped = r'{"text":"a\/b", "id":"1"}'
    other = _write(tmp_path / "other", {"train": (escaped, *ROWS[1:]), "valid": (escaped,), "test": ROWS[1:]})
    compared = compare(written, other)
    assert (compared.is_same, compared.rows, compared.same_bytes) == (True, 6, 4)


@pytest.mark.parametrize(
    ("test", "place"),
    [
        (ROWS[1:2], "test.jsonl:2"),
        ((*ROWS[1:], ROWS[0]), "test.jsonl:3"),
        (ROWS[:0:-1], "test.jsonl:1"),
        ((ROWS[1], '{"id":"3","text":"D"}'), "test.jsonl:2"),
    ],
    ids=["a row is missing", "a row too many", "another order", "another text"],
)
def test_a_difference_is_found_and_placed(written: Path, tmp_path: Path, test: tuple[str, ...], place: str) -> None:
    other = _write(tmp_path / "other", {"train": ROWS, "valid": ROWS[:1], "test": test})
    compared = compare(written, other)
    assert not compared.is_same
    assert compared.first_difference.startswith(f"{place}: ")

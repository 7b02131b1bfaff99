from collections.abc import Mapping, Sequence

import pytest

from benchmarks.scale.bars import OURS, Size, judged
from benchmarks.scale.comparing import Comparison
from benchmarks.scale.measuring import Measured

MILLION = 1_000_000
SAME = Comparison(rows=MILLION, is_same=True, same_bytes=MILLION)


def _run(wall_s: float, memory_mb: int = 500, outcome: str = "done") -> Measured:
    return Measured(outcome, "{}", wall_s, wall_s, memory_mb * 10**6, 0, 0, 0, 1)


def _size(
    rows: int, runs: Mapping[str, Sequence[Measured]], comparisons: Mapping[str, Sequence[Comparison]] | None = None
) -> Size:
    return Size(rows, rows * 150, runs, comparisons or {})


def _missed(*sizes: Size) -> list[str]:
    return [bar.claim for bar in judged(sizes) if not bar.is_met]


def test_all_is_well_when_fast_lean_flat_and_the_same() -> None:
    runs = {OURS: [_run(9)], "pandas": [_run(20)]}
    ten = {OURS: [_run(95, 550)], "pandas": [_run(250)]}
    bars = judged([_size(MILLION, runs, {"pandas": [SAME]}), _size(10 * MILLION, ten, {"pandas": [SAME]})])
    assert [bar for bar in bars if not bar.is_met] == []
    assert len(bars) == 9


@pytest.mark.parametrize(
    ("runs", "missed"),
    [
        ({OURS: [_run(10.1)]}, "1,000,000 rows: 99,010 rows/s, 100,000 are wanted"),
        ({OURS: [_run(9, 1501)]}, "1,000,000 rows: 1,501 MB at the peak, 1,500 allowed"),
        ({OURS: [_run(9)], "pandas": [_run(8.9)]}, "1,000,000 rows: pandas takes 1.0 times as long"),
    ],
)
def test_each_bar_can_be_missed(runs: dict[str, list[Measured]], missed: str) -> None:
    assert _missed(_size(MILLION, runs)) == [missed]


def test_one_repeat_with_other_rows_misses_the_bar() -> None:
    other = Comparison(rows=0, is_same=False, same_bytes=0, first_difference="train.jsonl:1")
    size = _size(10_000, {OURS: [_run(1)] * 2, "pandas": [_run(2)] * 2}, {"pandas": [SAME, other]})
    assert _missed(size) == ["10,000 rows: pandas gives the same rows"]


def test_memory_that_grows_with_the_rows_misses_the_bar() -> None:
    sizes = _size(MILLION, {OURS: [_run(9, 500)]}), _size(10 * MILLION, {OURS: [_run(90, 601)]})
    assert _missed(*sizes) == ["1,000,000 to 10,000,000 rows: peak memory differs by a factor of 1.20"]


def test_small_files_are_judged_by_their_rows_alone() -> None:
    size = _size(10_000, {OURS: [_run(5)], "pandas": [_run(1)]}, {"pandas": [SAME]})
    assert [bar.claim for bar in judged([size])] == ["10,000 rows: pandas gives the same rows"]


def test_what_ran_out_of_memory_is_neither_slower_nor_the_same() -> None:
    size = _size(MILLION, {OURS: [_run(9)], "pandas": [_run(5, outcome="out of memory")]}, {"pandas": []})
    assert not any("pandas" in bar.claim for bar in judged([size]))


def test_an_alternative_that_failed_misses_a_bar() -> None:
    size = _size(10_000, {OURS: [_run(9)], "pandas": [_run(5, outcome="failed")]}, {"pandas": []})
    assert _missed(size) == ["10,000 rows: pandas failed"]

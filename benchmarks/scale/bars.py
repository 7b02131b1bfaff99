"""What the ETL at scale must reach, and whether it did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .comparing import Comparison
from .measuring import Measured

OURS = "tunelane"

MIN_ROWS_PER_S = 100_000
MAX_MEMORY_BYTES = 1.5e9
MAX_MEMORY_GROWTH = 1.2
# Below, starting the processes takes a good part of the time.
JUDGED_FROM_ROWS = 1_000_000


@dataclass(frozen=True)
class Size:
    """All runs over one file.

    Attributes:
        rows: in the file.
        file_bytes: its size.
        runs: of each build, by name, in the order of the repeats.
        comparisons: of each alternative's splits with ours, one a repeat.
    """

    rows: int
    file_bytes: int
    runs: Mapping[str, Sequence[Measured]]
    comparisons: Mapping[str, Sequence[Comparison]]

    def wall_s(self, name: str) -> float:
        """Give the median wall time of a build."""
        return median(run.wall_s for run in self.runs[name])

    def rows_per_s(self, name: str) -> float:
        """Give the rows read in a second, all of the process's life counted."""
        return self.rows / self.wall_s(name)

    def memory_bytes(self, name: str) -> int:
        """Give the highest memory over the repeats."""
        return max(run.peak_memory_bytes for run in self.runs[name])


@dataclass(frozen=True)
class Bar:
    """One thing to reach, in words with its figures."""

    claim: str
    is_met: bool


def judged(sizes: Sequence[Size]) -> list[Bar]:
    """Judge the runs; of an alternative that ran out of memory neither rows nor time can be judged."""
    bars = []
    for size in sizes:
        for name, runs in size.runs.items():
            if any(run.outcome == "failed" for run in runs):
                bars.append(Bar(f"{size.rows:,} rows: {name} failed", False))
        for name, comparisons in size.comparisons.items():
            if comparisons:
                same = all(comparison.is_same for comparison in comparisons)
                bars.append(Bar(f"{size.rows:,} rows: {name} gives the same rows", same))
        bars += _bars_of_large(size) if size.rows >= JUDGED_FROM_ROWS else []
    large = [size for size in sizes if size.rows >= JUDGED_FROM_ROWS]
    if len(large) > 1:
        peaks = [size.memory_bytes(OURS) for size in large]
        growth = max(peaks) / min(peaks)
        rows = f"{min(size.rows for size in large):,} to {max(size.rows for size in large):,} rows"
        bars.append(Bar(f"{rows}: peak memory differs by a factor of {growth:.2f}", growth <= MAX_MEMORY_GROWTH))
    return bars


def _bars_of_large(size: Size) -> list[Bar]:
    rate, memory_bytes = size.rows_per_s(OURS), size.memory_bytes(OURS)
    bars = [
        Bar(f"{size.rows:,} rows: {rate:,.0f} rows/s, {MIN_ROWS_PER_S:,} are wanted", rate >= MIN_ROWS_PER_S),
        Bar(
            f"{size.rows:,} rows: {memory_bytes / 1e6:,.0f} MB at the peak, {MAX_MEMORY_BYTES / 1e6:,.0f} allowed",
            memory_bytes <= MAX_MEMORY_BYTES,
        ),
    ]
    for name in size.runs:
        if name != OURS and all(run.outcome == "done" for run in size.runs[name]):
            factor = size.wall_s(name) / size.wall_s(OURS)
            bars.append(Bar(f"{size.rows:,} rows: {name} takes {factor:.1f} times as long", factor > 1))
    return bars

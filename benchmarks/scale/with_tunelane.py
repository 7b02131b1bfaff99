"""Tunelane's own build of reviews, whatever their format, to a dataset.

python benchmarks/scale/with_tunelane.py REVIEWS OUTPUT [name=value ...]

Further options of `build_dataset` may follow. The last line of its output is JSON: the counts, and the seconds of each
phase.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from tunelane_components.etl.build import build_dataset
from tunelane_components.etl.progress import BuildProgress


class PhaseClock:
    """The seconds of each phase, from the first thing said of it to the first said of the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._phase, self._started_s = "start", time.perf_counter()

    def on_progress(self, progress: BuildProgress) -> None:
        if progress.phase != self._phase:
            self.next(progress.phase)

    def next(self, phase: str) -> None:
        now_s = time.perf_counter()
        self.seconds[self._phase] = round(self.seconds.get(self._phase, 0.0) + now_s - self._started_s, 3)
        self._phase, self._started_s = phase, now_s


def build(data: Path, output: Path, **options: Any) -> dict[str, int | dict[str, float]]:
    """Build the dataset; return counts and seconds by phase. Near-duplicates are not searched unless asked for."""
    clock = PhaseClock()
    asked = {"id_field": "id", "source_field": "source", "near_duplicate_threshold": 0.0, **options}
    summary = build_dataset(str(data), output, progress=clock.on_progress, **asked).summary
    clock.next("end")
    return {
        "rows_read": summary.rows_read,
        "rows_kept": summary.rows_kept,
        "rows_merged": summary.rows_merged,
        "rows_quarantined": summary.rows_quarantined,
        "rows_near_duplicate": summary.rows_near_duplicate,
        "seconds": clock.seconds,
    }


def main() -> None:
    options = {name: json.loads(value) for name, _, value in (option.partition("=") for option in sys.argv[3:])}
    print(json.dumps(build(Path(sys.argv[1]), Path(sys.argv[2]), **options)))


if __name__ == "__main__":
    main()

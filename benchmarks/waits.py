"""A command of Tunelane as people wait for it: the seconds of its whole process, start and end included."""

import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wait:
    """One time that a command ran: seconds of the clock, and of processors, its children's too."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Timing:
    """A command (without what says where things lie) and its seconds over the repeats; `cpu_s` is the median."""

    command: str
    median_wall_s: float
    max_wall_s: float
    cpu_s: float
    bar_s: float

    @property
    def is_met(self) -> bool:
        """Whether the median is below the bar."""
        return self.median_wall_s < self.bar_s


def waited(command: str, options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Wait:
    """Run a command of this environment's `tunelane` to its end; ends the benchmark where that is no good one."""
    before, started_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    finished = subprocess.run(
        [str(Path(sys.executable).parent / "tunelane"), *shlex.split(command)[1:], *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    wall_s, after = time.monotonic() - started_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode:
        sys.exit(f"{command} ended with {finished.returncode}: {finished.stderr.strip()}")
    return Wait(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def timing(command: str, waits: Sequence[Wait], bar_s: float) -> Timing:
    """Sum up the repeats of a command."""
    walls = [wait.wall_s for wait in waits]
    return Timing(command, statistics.median(walls), max(walls), statistics.median(wait.cpu_s for wait in waits), bar_s)


def print_timings(timings: Sequence[Timing]) -> None:
    """Print a table."""
    width = max(len(timing.command) for timing in timings)
    print(f"{'command':{width}} {'median s':>8} {'max s':>6} {'CPU s':>6} {'bar s':>6}")
    for found in timings:
        wall = f"{found.median_wall_s:>8.2f} {found.max_wall_s:>6.2f}"
        print(f"{found.command:{width}} {wall} {found.cpu_s:>6.2f} {found.bar_s:>6.1f}")

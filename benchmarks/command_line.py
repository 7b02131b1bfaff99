"""How long the commands take that people wait for, and what a run spends besides its stages' own work.

python benchmarks/command_line.py [--root .tunelane] [--repeats 5] [--output benchmarks/results/command_line.json]

Needs a model deployed below the root: `make run` deploys one. Its overhead is read from the newest run's record.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import msgspec
from environment import environment
from waits import Timing, print_timings, timing, waited

from tunelane_pipelines.runs.finding import find_run
from tunelane_pipelines.runs.record import read_record


def timed(command: str, options: list[str], repeats: int, bar_s: float) -> Timing:
    """Run a command some times; the first time, which fills the file cache, does not count."""
    return timing(command, [waited(command, options) for _ in range(repeats + 1)][1:], bar_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(".tunelane"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/command_line.json"))
    arguments = parser.parse_args()
    root = ["--root", str(arguments.root.absolute())]
    with tempfile.TemporaryDirectory() as scratch:
        timings = [
            timed("tunelane --help", [], arguments.repeats, bar_s=0.4),
            timed("tunelane predict 'A warm, funny film.'", root, arguments.repeats, bar_s=1.0),
            timed("tunelane compile", ["--output", f"{scratch}/compiled"], arguments.repeats, bar_s=5.0),
        ]
    print_timings(timings)
    record = read_record(Path(find_run(arguments.root.absolute(), "latest").place))
    overhead = msgspec.to_builtins(record.overhead)
    print(f"\n{record.run_id}: {record.wall_s:.0f} s, of which no stage's own work:")
    for name, seconds in overhead.items():
        print(f"  {name:16} {seconds:>6.2f}")
    result = {
        "commands": [asdict(timing) for timing in timings],
        "run": {"run_id": record.run_id, "wall_s": record.wall_s, "overhead": overhead},
        "environment": environment(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

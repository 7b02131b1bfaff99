"""Rows of the sample against macro-F1 and training time: how much of it `make run` should use.

python benchmarks/rows_curve.py [--output benchmarks/results/rows_curve.json]
"""

import argparse
import json
import tempfile
from pathlib import Path

from environment import environment
from floor import f1
from lane import run_lane

from tunelane_components.train.lora import LoraOptions

ROWS = (1000, 2000, 4000, 6000, 8000, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/rows_curve.json"))
    arguments = parser.parse_args()
    points = []
    print("  rows  train  test valid F1  int8 F1 floor F1  train s CPU s")
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as scratch:
            lane = run_lane(rows, LoraOptions(max_length_tokens=64), Path(scratch))
        point = {
            "rows": rows,
            "train_rows": lane.train_rows,
            "test_rows": len(lane.floor),
            "valid_macro_f1": lane.valid_macro_f1,
            "package_macro_f1": f1(lane.package),
            "floor_macro_f1": f1(lane.floor),
            "train_s": lane.train_s,
            "train_cpu_s": lane.train_cpu_s,
        }
        points.append(point)
        scores = f"{lane.valid_macro_f1:>8.3f} {point['package_macro_f1']:>8.3f} {point['floor_macro_f1']:>8.3f}"
        seconds = f"{lane.train_s:>8.0f} {lane.train_cpu_s:>5.0f}"
        print(f"{rows or 'all':>6} {lane.train_rows:>6} {len(lane.floor):>5} {scores} {seconds}", flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"points": points, "environment": environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()

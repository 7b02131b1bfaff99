"""The int8 package against the TF-IDF floor on the sample's test split: paired bootstrap over rows and three seeds.

python benchmarks/floor.py [--rows 0] [--output benchmarks/results/floor.json]
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
from environment import environment
from lane import Lane, run_lane

from tunelane_components.evaluate.metrics import count, indicators, macro_f1
from tunelane_components.evaluate.predictions import Prediction
from tunelane_components.train.lora import LoraOptions

SEEDS = (0, 1, 2)
RESAMPLES = 2000
BAR = 0.02


def delta_interval(lanes: list[Lane]) -> tuple[float, float, float]:
    """Mean macro-F1 of the packages minus the floors', with a 95 % interval over resampled rows and resampled seeds."""
    labels = sorted({label for prediction in lanes[0].floor for label in prediction.truth})

    def matrix(predictions: list[Prediction]) -> np.ndarray:
        return indicators([prediction.predicted for prediction in predictions], labels)

    truth = indicators([prediction.truth for prediction in lanes[0].floor], labels)
    pairs = [(matrix(lane.package), matrix(lane.floor)) for lane in lanes]

    def delta(rows: np.ndarray, seeds: np.ndarray) -> float:
        return float(
            np.mean(
                [
                    macro_f1(count(truth[rows], pairs[seed][0][rows]))
                    - macro_f1(count(truth[rows], pairs[seed][1][rows]))
                    for seed in seeds
                ]
            )
        )

    generator = np.random.default_rng(0)
    rows, seeds = np.arange(len(truth)), np.arange(len(pairs))
    drawn = [
        delta(generator.integers(0, len(rows), len(rows)), generator.integers(0, len(seeds), len(seeds)))
        for _ in range(RESAMPLES)
    ]
    lower, upper = np.percentile(drawn, [2.5, 97.5])
    return delta(rows, seeds), float(lower), float(upper)


def f1(predictions: list[Prediction]) -> float:
    labels = sorted({label for prediction in predictions for label in prediction.truth})
    truth = indicators([prediction.truth for prediction in predictions], labels)
    return float(macro_f1(count(truth, indicators([prediction.predicted for prediction in predictions], labels))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=0, help="rows of the sample; 0 for all")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/floor.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    lanes = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as scratch:
            lanes.append(run_lane(arguments.rows, LoraOptions(seed=seed, max_length_tokens=64), Path(scratch)))
    value, lower, upper = delta_interval(lanes)
    result = {
        "question": "macro-F1 of the int8 package minus the TF-IDF floor on the same test rows",
        "rows": arguments.rows,
        "train_rows": lanes[0].train_rows,
        "test_rows": len(lanes[0].floor),
        "seeds": [
            {
                "seed": seed,
                "package_macro_f1": f1(lane.package),
                "floor_macro_f1": f1(lane.floor),
                "int8_agreement": next(v.agreement for v in lane.parity.variants if v.variant == "int8"),
                "train_s": lane.train_s,
                "train_cpu_s": lane.train_cpu_s,
            }
            for seed, lane in zip(SEEDS, lanes, strict=True)
        ],
        "delta": {"value": value, "lower": lower, "upper": upper, "resamples": RESAMPLES, "bar": BAR},
        "environment": environment(),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{'seed':>4} {'int8 F1':>8} {'floor F1':>8} {'Δ points':>8} {'train s':>8}")
    for row in result["seeds"]:
        difference = 100 * (row["package_macro_f1"] - row["floor_macro_f1"])
        print(
            f"{row['seed']:>4} {row['package_macro_f1']:>8.3f} {row['floor_macro_f1']:>8.3f} {difference:>+8.1f}"
            f" {row['train_s']:>8.0f}"
        )
    interval = f"{100 * lower:+.1f} to {100 * upper:+.1f}"
    print(f"Δ macro-F1 {100 * value:+.1f} points, 95 % interval {interval}; bar {100 * BAR:+.0f}")
    return 0 if lower > BAR else 1


if __name__ == "__main__":
    sys.exit(main())

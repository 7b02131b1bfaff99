"""The figures of an evaluation as `evaluation.json` has them. Light to import: a report needs no numerical library."""

from pathlib import Path
from typing import Literal

import msgspec

from tunelane_serving.contract import read

EVALUATION = "evaluation.json"


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure on the rows as they are, and the bounds of its 95 % percentile interval."""

    value: float
    lower: float
    upper: float


class LabelReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One label of the taxonomy on the test rows. `support` rows have it, `predicted` rows got it.

    `f1_interval` is missing from evaluations of earlier releases.
    """

    label: str
    support: int
    predicted: int
    true_positives: int
    precision: float
    recall: float
    f1: float
    f1_interval: Interval | None = None


class SliceReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows that share one value of a dimension (source: tweets). Few rows give a wide interval, not none."""

    dimension: str
    value: str
    rows: int
    accuracy: float
    macro_f1: Interval


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another model on the same rows; `delta` is the challenger's macro-F1 minus its, by the paired bootstrap."""

    model_digest: str
    macro_f1: float
    delta: Interval


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A challenger's figures on one test split.

    `labels` and `per_label` stand in taxonomy order, as do both axes of `confusion` (true, predicted). `test_digest` is
    the SHA-256 of the split's file.
    """

    labels: tuple[str, ...]
    rows: int
    macro_f1: Interval
    micro_f1: Interval
    weighted_f1: Interval
    accuracy: float
    per_label: tuple[LabelReport, ...]
    per_slice: tuple[SliceReport, ...]
    floor: Comparison
    champion: Comparison | None
    confusion: tuple[tuple[int, ...], ...]
    challenger_digest: str
    taxonomy_digest: str
    test_digest: str
    seed: int
    version: Literal[1] = 1


def read_evaluation(directory: Path) -> Evaluation:
    """Read `evaluation.json` of a predictions directory; raises ContractError if it is missing or broken."""
    return read(directory / EVALUATION, Evaluation)


def headline(evaluation: Evaluation) -> dict[str, float]:
    """Give the figures that a run is listed with, by metric name."""
    figures = {
        "rows": float(evaluation.rows),
        "accuracy": evaluation.accuracy,
        "macro_f1": evaluation.macro_f1.value,
        "macro_f1_lower": evaluation.macro_f1.lower,
        "macro_f1_upper": evaluation.macro_f1.upper,
        "micro_f1": evaluation.micro_f1.value,
        "weighted_f1": evaluation.weighted_f1.value,
    }
    for name, other in (("floor", evaluation.floor), ("champion", evaluation.champion)):
        if other is not None:
            figures[f"{name}_macro_f1"] = other.macro_f1
            figures[f"{name}_delta"] = other.delta.value
            figures[f"{name}_delta_lower"] = other.delta.lower
            figures[f"{name}_delta_upper"] = other.delta.upper
    return figures

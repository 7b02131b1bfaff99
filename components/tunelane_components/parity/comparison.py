"""Parity, row by row: what PyTorch and each graph gave, what was asked, and what is out of bounds."""

import math
from typing import Literal

import msgspec

from tunelane_serving.errors import InputError
from tunelane_serving.package import ParityReport, VariantParity


class ParityBounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a variant may stand from PyTorch.

    fp32 is the same arithmetic in another order: its logits are held. A quantised graph is another model: its labels
    and its F1 are.
    """

    max_abs_logit_delta: float = 1e-3
    min_agreement: float = 0.95
    min_f1_delta: float = -0.03

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise InputError(f"min_agreement is {self.min_agreement}; pass a share from 0 to 1.")
        if not -1 <= self.min_f1_delta <= 1:
            raise InputError(f"min_f1_delta is {self.min_f1_delta}; pass a difference from -1 to 1, such as -0.03.")


class VariantRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One graph on the compared rows: the labels it chose, and its scores of the labels that PyTorch chose.

    The score is 0 for a label that only the checkpoint has.
    """

    variant: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]


class ParityComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PyTorch against every graph: the figures, the bounds they were held to, and each row.

    `ids`, `labels` and `scores` have an entry a row: its id, the label that PyTorch chose, and the score of that label.
    """

    report: ParityReport
    bounds: ParityBounds
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    variants: tuple[VariantRows, ...]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        columns = [
            self.labels,
            self.scores,
            *(column for rows in self.variants for column in (rows.labels, rows.scores)),
        ]
        if any(len(column) != len(self.ids) for column in columns):
            raise ValueError("ids: every column has one entry a row")
        if [rows.variant for rows in self.variants] != [figures.variant for figures in self.report.variants]:
            raise ValueError("variants: are not those of the report")

    @property
    def problem(self) -> str:
        """What is out of bounds in the first variant that is, in words; empty where all keep the bounds."""
        for figures in self.report.variants:
            problem = out_of_bounds(figures, self.bounds)
            if problem:
                return f"{figures.variant} does not answer as PyTorch does on {len(self.ids)} held-out rows: {problem}."
        return ""


def out_of_bounds(report: VariantParity, bounds: ParityBounds) -> str:
    """Say what about a variant is out of bounds, in words with figures; an empty string where nothing is."""
    # NaN in one row of many would pass as a label like any other.
    if not math.isfinite(report.max_abs_logit_delta):
        return f"max |Δlogit| is {report.max_abs_logit_delta}: a logit is not a finite number"
    if report.variant == "fp32" and not report.max_abs_logit_delta <= bounds.max_abs_logit_delta:
        return f"max |Δlogit| is {report.max_abs_logit_delta:.2g}, {bounds.max_abs_logit_delta:.2g} is allowed"
    if not report.agreement >= bounds.min_agreement:
        return f"{report.agreement:.1%} of labels agree, {bounds.min_agreement:.1%} are needed"
    if not report.f1_delta >= bounds.min_f1_delta:
        return f"macro-F1 changes by {report.f1_delta:+.3f}, {bounds.min_f1_delta:+.3f} is allowed"
    return ""

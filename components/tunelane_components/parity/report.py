"""Parity for people: each graph's scores against PyTorch's, the labels that flip, and what was asked."""

import math
from dataclasses import dataclass

from tunelane_components.parity.comparison import ParityBounds, ParityComparison, VariantRows, out_of_bounds
from tunelane_components.report.charts import Chart, Point, chart
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill
from tunelane_serving.package import ParityReport, VariantParity

_FLIPS_LISTED = 10


@dataclass(frozen=True)
class _Measure:
    """One line of a variant's table; `asked` is empty where nothing was."""

    name: str
    measured: str
    asked: str = ""
    kept: bool = True


@dataclass(frozen=True)
class _Flip:
    """A row whose label the graph changes: PyTorch's label and score, the graph's label, its score of PyTorch's."""

    id: str
    label: str
    score: float
    graph_label: str
    graph_score: float


@dataclass(frozen=True)
class _Variant:
    name: str
    problem: str
    measures: tuple[_Measure, ...]
    agreeing: tuple[Point, ...]
    flipping: tuple[Point, ...]
    flips: tuple[_Flip, ...]


def section(report: ParityReport, comparison: ParityComparison | None) -> str:
    """Show parity as an HTML fragment; without the rows of the comparison there are figures, and no plot."""
    bounds = comparison.bounds if comparison else None
    rows = {answered.variant: answered for answered in comparison.variants} if comparison else {}
    return fill(
        "parity.html",
        report=report,
        variants=[_variant(figures, bounds, comparison, rows.get(figures.variant)) for figures in report.variants],
        bounds=bounds,
        plot=_plot(comparison) if comparison else None,
        listed=_FLIPS_LISTED,
    )


def render(report: ParityReport, comparison: ParityComparison | None) -> str:
    """Show parity as a whole page."""
    return page(
        f"PyTorch against {', '.join(figures.variant for figures in report.variants)}", section(report, comparison)
    )


def _plot(comparison: ParityComparison) -> Chart:
    """Both axes run from the lowest score, rounded down to a tenth, to 1."""
    scores = [*comparison.scores, *(score for rows in comparison.variants for score in rows.scores)]
    low = min(math.floor(min(scores, default=0.0) * 10) / 10, 0.9)
    return chart((low, 1), (low, 1))


def _variant(
    figures: VariantParity, bounds: ParityBounds | None, comparison: ParityComparison | None, rows: VariantRows | None
) -> _Variant:
    flips: tuple[_Flip, ...] = ()
    agreeing: tuple[Point, ...] = ()
    if comparison and rows:
        everything = [
            _Flip(*row)
            for row in zip(comparison.ids, comparison.labels, comparison.scores, rows.labels, rows.scores, strict=True)
        ]
        flips = tuple(row for row in everything if row.label != row.graph_label)
        agreeing = tuple((row.score, row.graph_score) for row in everything if row.label == row.graph_label)
    return _Variant(
        name=figures.variant,
        problem=out_of_bounds(figures, bounds) if bounds else "",
        measures=_measures(figures, bounds),
        agreeing=agreeing,
        flipping=tuple((flip.score, flip.graph_score) for flip in flips),
        flips=flips,
    )


def _measures(figures: VariantParity, bounds: ParityBounds | None) -> tuple[_Measure, ...]:
    logit = _Measure("Largest logit difference", f"{figures.max_abs_logit_delta:.2g}")
    score = _Measure("Largest score difference", f"{figures.max_abs_score_delta:.2g}")
    agreement = _Measure("Labels that agree", f"{figures.agreement:.2%}")
    f1 = _Measure("Macro-F1 difference, points", f"{100 * figures.f1_delta:+.2f}")
    if bounds is None:
        return logit, score, agreement, f1
    if figures.variant == "fp32":
        most = bounds.max_abs_logit_delta
        logit = _Measure(logit.name, logit.measured, f"≤ {most:.2g}", figures.max_abs_logit_delta <= most)
    return (
        logit,
        score,
        _Measure(
            agreement.name,
            agreement.measured,
            f"≥ {bounds.min_agreement:.1%}",
            figures.agreement >= bounds.min_agreement,
        ),
        _Measure(
            f1.name,
            f1.measured,
            f"≥ {100 * bounds.min_f1_delta:+.1f}",
            figures.f1_delta >= bounds.min_f1_delta,
        ),
    )

"""The evaluation for people: headline, other models on the same rows, labels, slices, confusion matrix."""

from dataclasses import dataclass

from tunelane_components.evaluate.figures import Comparison, Evaluation
from tunelane_components.report.charts import Strip, strip
from tunelane_components.report.page import page
from tunelane_components.report.templating import fill

_FEW_ROWS = 30
# More columns than these are headed by numbers, which the row heads explain.
_COLUMNS_NAMED = 4
_COLUMNS_ROOMY = 10
_CONFUSIONS_LISTED = 5


@dataclass(frozen=True)
class _Rival:
    """Another model on the same rows, and the difference to it on a line with 0."""

    name: str
    note: str
    comparison: Comparison
    line: Strip


@dataclass(frozen=True)
class _Confusion:
    """Rows of one label that got another, and their share of the label's rows."""

    truth: str
    predicted: str
    rows: int
    share: float


def section(evaluation: Evaluation) -> str:
    """Show an evaluation as an HTML fragment."""
    rivals = [_rival("Against the floor", "TF-IDF with logistic regression", evaluation.floor)]
    if evaluation.champion is not None:
        digest = evaluation.champion.model_digest[:12]
        rivals.insert(0, _rival("Against the champion", f"package {digest}", evaluation.champion))
    labels = len(evaluation.labels)
    return fill(
        "evaluation.html",
        evaluation=evaluation,
        rivals=rivals,
        few_rows=_FEW_ROWS,
        matrix=_matrix(evaluation),
        numbered=labels > _COLUMNS_NAMED,
        dense=labels > _COLUMNS_ROOMY,
        confusions=_confusions(evaluation) if labels > 2 else [],
    )


def render(evaluation: Evaluation) -> str:
    """Show an evaluation as a whole page."""
    return page(f"Package {evaluation.challenger_digest[:12]} on {evaluation.rows:,} test rows", section(evaluation))


def _rival(name: str, note: str, comparison: Comparison) -> _Rival:
    delta = comparison.delta
    return _Rival(name, note, comparison, strip(delta.value, 0.0, delta.lower, delta.upper, factor=100))


def _matrix(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]]]]:
    """Give each true label with its counts by predicted label, and these as shares of the label's rows."""
    return [
        (label, [(count, count / max(sum(counts), 1)) for count in counts])
        for label, counts in zip(evaluation.labels, evaluation.confusion, strict=True)
    ]


def _confusions(evaluation: Evaluation) -> list[_Confusion]:
    """List the most frequent confusions, the most rows first."""
    found = [
        _Confusion(truth, predicted, count, count / sum(counts))
        for truth, counts in zip(evaluation.labels, evaluation.confusion, strict=True)
        for predicted, count in zip(evaluation.labels, counts, strict=True)
        if count and truth != predicted
    ]
    return sorted(found, key=lambda confusion: -confusion.rows)[:_CONFUSIONS_LISTED]

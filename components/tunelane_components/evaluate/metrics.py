"""F1 and its kin on boolean indicator matrices: one code for single-label and multi-label tasks.

Every mean over labels sorts its terms before it sums them, so that label order cannot change the last bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.errors import ContractError

Indicators = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Row counts by label, each of shape (..., labels): leading axes are resamples.

    `true_positives` have the label and got it, `support` have it, `predicted` got it.
    """

    true_positives: NDArray[Any]
    support: NDArray[Any]
    predicted: NDArray[Any]

    @property
    def false_positives(self) -> NDArray[Any]:
        """Rows that got the label and do not have it, (..., labels)."""
        return np.asarray(self.predicted - self.true_positives)

    @property
    def false_negatives(self) -> NDArray[Any]:
        """Rows that have the label and did not get it, (..., labels)."""
        return np.asarray(self.support - self.true_positives)

    @property
    def precision(self) -> Floats:
        """True positives over predicted, (..., labels); 0 for a label never predicted."""
        return _ratio(self.true_positives, self.predicted)

    @property
    def recall(self) -> Floats:
        """True positives over support, (..., labels); 0 for a label without rows."""
        return _ratio(self.true_positives, self.support)

    @property
    def f1(self) -> Floats:
        """2 tp / (support + predicted), (..., labels): harmonic mean of precision and recall; 0 for a label unseen."""
        return _ratio(2.0 * self.true_positives, self.support + self.predicted)


def indicators(rows: Iterable[Sequence[str]], labels: Sequence[str]) -> Indicators:
    """Turn label names by row into a (rows, labels) boolean matrix, columns in the order of `labels`.

    Raises:
        ContractError: a row has a label that is not among `labels`.
    """
    column = {label: position for position, label in enumerate(labels)}
    listed = list(rows)
    matrix = np.zeros((len(listed), len(labels)), np.bool_)
    for position, names in enumerate(listed):
        for name in names:
            if name not in column:
                raise ContractError(f"label {name!r} is not in the taxonomy; it has {', '.join(map(repr, labels))}")
            matrix[position, column[name]] = True
    return matrix


def count(truth: Indicators, predicted: Indicators) -> Counts:
    """Count, by label (labels,), two (rows, labels) indicator matrices."""
    return Counts((truth & predicted).sum(axis=0), truth.sum(axis=0), predicted.sum(axis=0))


def macro_f1(counts: Counts) -> Floats:
    """Average F1 over the labels that occur in truth or prediction, shape (...,); 0 where none does.

    A label with neither is left out, as scikit-learn's `f1_score(average="macro")` does with its default `labels`,
    the union of those in `y_true` and `y_pred`.
    """
    return _ratio(_sum_over_labels(counts.f1), (counts.support + counts.predicted > 0).sum(axis=-1))


def single_label_macro_f1(truth: NDArray[Any], predicted: NDArray[Any], labels: int) -> float:
    """Macro-F1 of (rows,) integer label positions, truth and predicted, for a single-label task."""
    positions = np.arange(labels)
    return float(macro_f1(count(truth[:, None] == positions, predicted[:, None] == positions)))


def micro_f1(counts: Counts) -> Floats:
    """Take all labels' counts together for one F1, shape (...,); equals accuracy for a single-label task."""
    return _ratio(2.0 * counts.true_positives.sum(axis=-1), (counts.support + counts.predicted).sum(axis=-1))


def weighted_f1(counts: Counts) -> Floats:
    """Average F1 weighted by support, shape (...,); 0 where no row has a label."""
    return _ratio(_sum_over_labels(counts.support * counts.f1), counts.support.sum(axis=-1))


def accuracy(truth: Indicators, predicted: Indicators) -> float:
    """Give the share of rows whose label set is exactly the true one."""
    return float((truth == predicted).all(axis=1).mean())


def confusion_matrix(truth: Indicators, predicted: Indicators) -> NDArray[np.int64]:
    """Count rows by true label (axis 0) and predicted label (axis 1), (labels, labels); for single-label tasks."""
    return truth.T.astype(np.int64) @ predicted.astype(np.int64)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """Divide in float64; 0 where the denominator is 0."""
    denominator = np.asarray(denominator, np.float64)
    quotient: Floats = np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator > 0)
    return quotient


def _sum_over_labels(values: Floats) -> Floats:
    return np.asarray(np.sort(values, axis=-1).sum(axis=-1))

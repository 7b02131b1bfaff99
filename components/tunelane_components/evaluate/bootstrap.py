"""Percentile bootstrap over rows: how far a figure would move with other test rows.

B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap (1993): the percentile interval of chapter 13, on the
order statistics of section 12.5. Models that are compared are scored on the same resamples, so that what is hard for
both cancels out.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunelane_components.evaluate.figures import Interval
from tunelane_components.evaluate.metrics import Counts, Floats, Indicators, count, macro_f1, micro_f1, weighted_f1

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK_BYTES = 64 << 20
_FLOAT32_INTEGERS = 1 << 24  # float32 holds every integer up to here, so the counts below are exact


class F1Intervals(NamedTuple):
    """One model's macro, micro and weighted F1 with their intervals."""

    macro: Interval
    micro: Interval
    weighted: Interval


def intervals(truth: Indicators, predicted: Indicators, *, resamples: int = RESAMPLES, seed: int = 0) -> F1Intervals:
    """Give one model's macro, micro and weighted F1 with bootstrap intervals.

    Depends on seed and row order, not on label order.

    Args:
        truth: (rows, labels), at least one row.
        predicted: (rows, labels).
        resamples: how many times the rows are drawn with replacement.
        seed: of the draws.
    """
    statistics: tuple[Callable[[Counts], Floats], ...] = (macro_f1, micro_f1, weighted_f1)
    drawn: list[list[Floats]] = [[] for _ in statistics]
    for (counts,) in _resampled(truth, (predicted,), resamples, seed):
        for values, statistic in zip(drawn, statistics, strict=True):
            values.append(statistic(counts))
    observed = count(truth, predicted)
    return F1Intervals(
        *(
            _percentile(float(statistic(observed)), np.concatenate(values))
            for values, statistic in zip(drawn, statistics, strict=True)
        )
    )


def label_intervals(
    truth: Indicators, predicted: Indicators, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Interval, ...]:
    """Give each label's F1 with its bootstrap interval, on the resamples of `intervals`.

    In a resample that has a label neither in truth nor in prediction its F1 is 0: a rare label's interval is wide.

    Args:
        truth: (rows, labels), at least one row.
        predicted: (rows, labels).
        resamples: how many times the rows are drawn with replacement.
        seed: of the draws.
    """
    drawn = np.concatenate([counts.f1 for (counts,) in _resampled(truth, (predicted,), resamples, seed)])
    observed = count(truth, predicted).f1
    return tuple(_percentile(float(value), of_label) for value, of_label in zip(observed, drawn.T, strict=True))


def paired_delta(
    truth: Indicators, challenger: Indicators, champion: Indicators, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Challenger's macro-F1 minus the champion's, both on the same resamples; swapping them negates every figure.

    Args:
        truth: (rows, labels), at least one row.
        challenger: (rows, labels), what it predicted for these rows.
        champion: (rows, labels), what it predicted for these rows.
        resamples: how many times the rows are drawn with replacement.
        seed: of the draws.
    """
    drawn = [
        macro_f1(ours) - macro_f1(theirs) for ours, theirs in _resampled(truth, (challenger, champion), resamples, seed)
    ]
    observed = float(macro_f1(count(truth, challenger)) - macro_f1(count(truth, champion)))
    return _percentile(observed, np.concatenate(drawn))


def _resampled(
    truth: Indicators, predictions: tuple[Indicators, ...], resamples: int, seed: int
) -> Iterator[tuple[Counts, ...]]:
    """Draw rows with replacement and yield, a chunk of resamples at a time, each model's Counts of (chunk, labels).

    A resample is a vector of how often each row was drawn; its counts are that vector times the indicators.
    """
    rows = truth.shape[0]
    exact = np.dtype(np.float32 if rows < _FLOAT32_INTEGERS else np.float64)
    blocks = [truth, *(block for predicted in predictions for block in (truth & predicted, predicted))]
    columns: NDArray[Any] = np.hstack(blocks).astype(exact)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_BYTES // (rows * 24))  # drawn rows, their counts and the weights: 8 bytes each at most
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, rows, (size, rows))
        drawn += rows * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        weights: NDArray[Any] = times_drawn.astype(exact)
        support, *pairs = np.split((weights @ columns).astype(np.float64), len(blocks), axis=1)
        yield tuple(Counts(pairs[model], support, pairs[model + 1]) for model in range(0, len(pairs), 2))


def _percentile(value: float, drawn: Floats) -> Interval:
    """Take the k-th smallest and k-th largest of B values, k = floor((B + 1) α): symmetric, no interpolation."""
    ordered = np.sort(drawn)
    rank = max(1, int((len(ordered) + 1) * (1 - CONFIDENCE) / 2))
    return Interval(value, float(ordered[rank - 1]), float(ordered[-rank]))

"""Drift: what a model is asked and answers now, against the reference histograms in its package."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.monitoring.psi import null_threshold, psi
from tunelane_serving.package import Histogram

DriftStatus = Literal["none", "drift", "too_few_events", "no_reference"]

OTHER_LABELS = "other labels"
# A last edge this far out stands for "no upper bound".
_UNBOUNDED = 10**6


@dataclass(frozen=True)
class Observations:
    """What was observed of a model's live events.

    `labels` has an entry for every label that was given (several an event, or none, where a task has many). The arrays
    have an entry an event, (events,) float64, NaN where the event has no such figure.
    """

    labels: list[str]
    confidence: NDArray[np.float64]
    length_tokens: NDArray[np.float64]
    oov_share: NDArray[np.float64]

    @property
    def events(self) -> int:
        """How many events there are."""
        return len(self.confidence)


@dataclass(frozen=True)
class FeatureDrift:
    """One distribution against the package's reference. `reference` and `live` are shares by bin.

    `events` are the live values that there are. `psi` and `threshold` are None where these are fewer than the minimum.
    """

    name: str
    psi: float | None
    threshold: float | None
    drifted: bool
    events: int
    reference_count: int
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    live: tuple[float, ...]


@dataclass(frozen=True)
class DriftReport:
    """Every distribution that the package has a reference for. `alpha` is the chance of a false alarm over all."""

    events: int
    minimum_events: int
    alpha: float
    status: DriftStatus
    features: tuple[FeatureDrift, ...]


def measure_drift(
    reference: Sequence[Histogram],
    observations: Observations,
    *,
    minimum_events: int = 100,
    alpha: float = 0.01,
    minimum_psi: float = 0.1,
) -> DriftReport:
    """Compare live observations with the histograms named label, confidence, length_tokens and oov_share.

    A distribution has drifted where its PSI passes its threshold: what as many events pass without drift with
    probability alpha / number of histograms (Bonferroni), and at least `minimum_psi`, the smallest change that matters.

    Args:
        reference: the histograms of a package; others than those four, and empty ones, are passed over.
        observations: the live events of a window.
        minimum_events: with fewer live values a distribution is not judged.
        alpha: chance that anything at all is called drift when nothing has drifted.
        minimum_psi: no smaller PSI is called drift.
    """
    values = {
        "confidence": observations.confidence,
        "length_tokens": observations.length_tokens,
        "oov_share": observations.oov_share,
    }
    histograms = [
        item
        for item in reference
        if sum(item.counts) and (item.name == "label" if item.categories else item.name in values)
    ]
    features = []
    for histogram in histograms:
        if histogram.categories:
            bins, reference_counts, live_counts = _by_category(histogram, observations.labels)
        else:
            bins, reference_counts = _named_bins(histogram.edges), histogram.counts
            live_counts = _by_edges(histogram.edges, values[histogram.name])
        features.append(
            _compared(
                histogram.name,
                bins,
                reference_counts,
                live_counts,
                minimum_events=minimum_events,
                alpha=alpha / len(histograms),
                minimum_psi=minimum_psi,
            )
        )
    return DriftReport(observations.events, minimum_events, alpha, _status(features), tuple(features))


def _compared(
    name: str,
    bins: tuple[str, ...],
    reference_counts: tuple[int, ...],
    live_counts: tuple[int, ...],
    *,
    minimum_events: int,
    alpha: float,
    minimum_psi: float,
) -> FeatureDrift:
    events = sum(live_counts)
    value = threshold = None
    if events >= max(minimum_events, 1):
        value = psi(reference_counts, live_counts)
        threshold = max(null_threshold(reference_counts, events, alpha=alpha), minimum_psi)
    return FeatureDrift(
        name=name,
        psi=value,
        threshold=threshold,
        drifted=value is not None and threshold is not None and value > threshold,
        events=events,
        reference_count=sum(reference_counts),
        bins=bins,
        reference=_shares(reference_counts),
        live=_shares(live_counts),
    )


def _status(features: Sequence[FeatureDrift]) -> DriftStatus:
    if not features:
        return "no_reference"
    if all(feature.psi is None for feature in features):
        return "too_few_events"
    return "drift" if any(feature.drifted for feature in features) else "none"


def _by_category(
    histogram: Histogram, labels: Sequence[str]
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
    """Give bins, reference and live counts; labels that the reference does not know share one more bin, if any are."""
    found = Counter(labels)
    live = tuple(found[name] for name in histogram.categories)
    others = len(labels) - sum(live)
    if not others:
        return histogram.categories, histogram.counts, live
    return (*histogram.categories, OTHER_LABELS), (*histogram.counts, 0), (*live, others)


def _by_edges(edges: tuple[float, ...], values: NDArray[np.float64]) -> tuple[int, ...]:
    """Count values by bin: the last is closed, and what lies outside the edges goes into the end bins."""
    known = values[~np.isnan(values)]
    counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), bins=np.array(edges))
    return tuple(counts.tolist())


def _named_bins(edges: tuple[float, ...]) -> tuple[str, ...]:
    """Name bins for people: "8–16"; "512+" for a last one that has no real end."""
    names = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]  # noqa: RUF001 - the dash of ranges
    if edges[-1] >= _UNBOUNDED:
        names[-1] = f"{edges[-2]:g}+"
    return tuple(names)


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    total = sum(counts)
    return tuple(count / total if total else 0.0 for count in counts)

"""Summaries of many measurements."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], share: float) -> float:
    """Give the nearest-rank percentile: the smallest value that at least `share` of all do not pass; NaN for none."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Give the median of the ratios of what was measured in the same round; NaN where there is nothing to compare."""
    ratios = [one / other for one, other in zip(above, below, strict=True) if other > 0 and not math.isnan(one)]
    return median(ratios) if ratios else math.nan

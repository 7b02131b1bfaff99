"""The population stability index of two histograms, and how large it gets when nothing has changed.

PSI = Σ (q − p) · ln(q / p) over the bins, p being the reference's shares and q the live ones. Without any drift it is
about (bins − 1) · (1/reference count + 1/live count), so a fixed limit means nothing: it has to go with the counts. See
B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model Validation
14 (2020), https://doi.org/10.21314/JRMV.2020.227.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Added to the count of every bin on both sides, so that an empty bin has a share (Jeffreys' prior for a multinomial).
_SMOOTHING = 0.5
# So many simulated values are expected beyond the quantile: its true level is then known to about a fifth of itself.
_DRAWS_BEYOND = 20
_FEWEST_DRAWS, _MOST_DRAWS = 2_000, 40_000
_DRAWS_AT_ONCE = 1_000
_SEED = 20
# The least that the most draws tell: four of them are expected beyond. A caller's 1e-3 over ten distributions.
_LEAST_ALPHA = 1e-4


def psi(reference_counts: Sequence[int], live_counts: Sequence[int]) -> float:
    """PSI of two histograms over the same bins; 0 where their shares are the same.

    Half an event is added to every bin of both, so an empty bin gives a finite value.

    Raises:
        ValueError: they have not the same number of bins.
    """
    if len(reference_counts) != len(live_counts):
        raise ValueError(f"{len(reference_counts)} reference bins, {len(live_counts)} live ones")
    return float(_psi(np.array([reference_counts], np.float64), np.array([live_counts], np.float64))[0])


def null_threshold(reference_counts: Sequence[int], events: int, *, alpha: float = 0.01) -> float:
    """Give the PSI that `events` live values pass with probability `alpha` when nothing has drifted.

    Simulated: reference and live are both drawn from the smoothed shares of `reference_counts`, the reference anew with
    its own count, since it is a sample too. The same input gives the same threshold. `events` is rounded down to two
    digits: fewer events have the higher threshold, and the result is remembered (a first call takes milliseconds for
    ten bins, tens of them for fifty).

    `alpha` is at least 1e-4, below which the simulation says nothing; below 5e-4 its quantile's level is known less
    well. So 1e-3 is the least that may be shared among the distributions of a package.

    Raises:
        ValueError: there is no event or no reference value, or `alpha` is not from 1e-4 to below 1.
    """
    if events < 1 or sum(reference_counts) < 1:
        raise ValueError("a threshold needs at least one event on either side")
    if not _LEAST_ALPHA <= alpha < 1:
        raise ValueError(f"alpha is {alpha}, not from {_LEAST_ALPHA} to below 1")
    unit = 10 ** max(len(str(events)) - 2, 0)
    return _simulated(tuple(reference_counts), events // unit * unit, alpha)


@lru_cache(maxsize=4096)
def _simulated(reference_counts: tuple[int, ...], events: int, alpha: float) -> float:
    smoothed = np.array(reference_counts, np.float64) + _SMOOTHING
    shares = smoothed / smoothed.sum()
    generator = np.random.default_rng(_SEED)
    draws = min(max(math.ceil(_DRAWS_BEYOND / alpha), _FEWEST_DRAWS), _MOST_DRAWS)
    values = []
    for start in range(0, draws, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, draws - start)
        reference = generator.multinomial(sum(reference_counts), shares, count)
        values.append(_psi(reference, generator.multinomial(events, shares, count)))
    return float(np.quantile(np.concatenate(values), 1 - alpha, method="higher"))


def _psi(reference: NDArray[np.number], live: NDArray[np.number]) -> NDArray[np.float64]:
    """Give the PSI of each row of counts: two arrays (rows, bins) to (rows,)."""
    p, q = _shares(reference), _shares(live)
    result: NDArray[np.float64] = ((q - p) * np.log(q / p)).sum(axis=1)
    return result


def _shares(counts: NDArray[np.number]) -> NDArray[np.float64]:
    smoothed = counts + _SMOOTHING
    result: NDArray[np.float64] = smoothed / smoothed.sum(axis=1, keepdims=True)
    return result

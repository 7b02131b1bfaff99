from itertools import pairwise

import pytest

from benchmarks.serving.arrivals import poisson


def test_the_seed_decides_the_schedule() -> None:
    assert poisson(50, 10, seed=1) == poisson(50, 10, seed=1) != poisson(50, 10, seed=2)


def test_arrivals_ascend_and_end_in_time() -> None:
    times = poisson(200, 3, seed=0)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 3


def test_gaps_have_the_mean_and_the_spread_of_a_poisson_process() -> None:
    times = poisson(100, 500, seed=0)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    mean_s = sum(gaps) / len(gaps)
    deviation_s = (sum((gap - mean_s) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean_s == pytest.approx(0.01, rel=0.02)
    # An exponential distribution's deviation is its mean; evenly spaced arrivals would have none.
    assert deviation_s == pytest.approx(mean_s, rel=0.03)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson(0, 1, seed=0)

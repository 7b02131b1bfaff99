import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tunelane_serving.monitoring.psi import null_threshold, psi

_BINS = 30
_EVENTS = 200
_REFERENCE_ROWS = 1000
_TRIALS = 2000

_counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=40)


def _truth() -> NDArray[np.float64]:
    """Give shares as data have them: some bins full, some nearly empty."""
    return np.random.default_rng(7).dirichlet(np.full(_BINS, 2.0))


def _without_drift(trials: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw references (trials, bins) and live counts from one and the same distribution."""
    generator = np.random.default_rng(1)
    return generator.multinomial(_REFERENCE_ROWS, _truth(), trials), generator.multinomial(_EVENTS, _truth(), trials)


@given(_counts)
def test_the_same_counts_have_no_psi(counts: list[int]) -> None:
    assert psi(counts, counts) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=40))
def test_psi_is_finite_never_negative_and_the_same_both_ways(pairs: list[tuple[int, int]]) -> None:
    reference, live = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    value = psi(reference, live)
    assert np.isfinite(value)
    assert value >= 0
    assert psi(live, reference) == pytest.approx(value)


def test_psi_is_the_textbooks_sum() -> None:
    # Counts so large that the half event does not show: shares .5 .3 .2 against .4 .4 .2.
    expected = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.4 - 0.3) * np.log(0.4 / 0.3)
    assert psi([5_000_000, 3_000_000, 2_000_000], [400_000, 400_000, 200_000]) == pytest.approx(expected, rel=1e-4)


def test_an_empty_bin_counts_as_half_an_event() -> None:
    # Shares .5/4 and 3.5/4 against 3.5/4 and .5/4.
    assert psi([0, 3], [3, 0]) == pytest.approx(2 * 0.75 * np.log(7))


def test_histograms_of_other_bins_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 reference bins, 3 live ones"):
        psi([1, 2], [1, 2, 3])


def test_a_fixed_tenth_alarms_almost_always_without_any_drift() -> None:
    # Measured: 94 % with a reference of 1,000 rows; theory has the mean at 29 · (1/200 + 1/1000) = 0.174.
    alarms = np.mean([psi(*pair) > 0.1 for pair in zip(*_without_drift(_TRIALS), strict=True)])
    assert alarms > 0.9


def test_the_calibrated_threshold_alarms_about_as_often_as_it_says() -> None:
    alpha = 0.05
    # A threshold for every reference would take long and tell no more: 40 references, 50 live samples to each.
    references, lives = _without_drift(_TRIALS)
    alarms = 0
    for group in range(40):
        reference = references[group].tolist()
        threshold = null_threshold(reference, _EVENTS, alpha=alpha)
        alarms += sum(psi(reference, live.tolist()) > threshold for live in lives[group * 50 : group * 50 + 50])
    # 100 of 2,000 are expected. They come in groups that share a reference, and the threshold is itself a simulated
    # quantile (its level within a fifth, 1 s.d.): half to twice is more than three standard deviations of all that.
    assert 0.5 * alpha < alarms / _TRIALS < 2 * alpha


def test_a_real_shift_is_caught() -> None:
    generator = np.random.default_rng(3)
    reference = generator.multinomial(_REFERENCE_ROWS, _truth())
    # A quarter of the traffic is of one kind.
    shifted = 0.75 * _truth()
    shifted[4] += 0.25
    threshold = null_threshold(reference.tolist(), _EVENTS)
    caught = [psi(reference.tolist(), generator.multinomial(_EVENTS, shifted).tolist()) > threshold for _ in range(200)]
    assert np.mean(caught) > 0.99


def test_the_threshold_falls_as_events_come_in() -> None:
    thresholds = [null_threshold([300, 200, 100], events) for events in (50, 100, 200, 400, 1000, 10_000)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[-1] < thresholds[0] / 5


def test_events_are_rounded_down_to_two_digits_to_the_higher_threshold() -> None:
    reference = [300, 200, 100]
    assert null_threshold(reference, 1299) == null_threshold(reference, 1200)
    assert null_threshold(reference, 1299) > null_threshold(reference, 2000)
    # Below a hundred nothing is rounded.
    assert null_threshold(reference, 7) != null_threshold(reference, 8)


def test_a_smaller_alpha_has_a_higher_threshold() -> None:
    thresholds = [null_threshold([300, 200, 100], 200, alpha=alpha) for alpha in (0.1, 0.05, 0.01, 0.0025)]
    assert thresholds == sorted(thresholds)


@pytest.mark.parametrize(
    ("counts", "events", "alpha"), [([1, 2], 0, 0.01), ([0, 0], 100, 0.01), ([1, 2], 100, 0.0), ([1, 2], 100, 1.0),
     ([1, 2], 100, 1e-308), ([1, 2], 100, 5e-324), ([1, 2], 100, 9.9e-5), ([1, 2], 100, float("nan"))],
)  # fmt: skip
def test_what_has_no_threshold_is_refused(counts: list[int], events: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"at least one event|alpha is"):
        null_threshold(counts, events, alpha=alpha)

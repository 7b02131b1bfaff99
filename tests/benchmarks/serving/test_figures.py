import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.figures import median_ratio, percentile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_the_percentile_is_a_value_of_the_sample(share: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_at_least_the_share_of_all_values_does_not_pass_the_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_ratios_are_taken_round_by_round() -> None:
    # The machine was ten times slower in the second round, for both.
    assert median_ratio([100, 10, 90], [50, 5, 60]) == 2


def test_a_round_without_a_figure_does_not_count() -> None:
    assert median_ratio([1, math.nan, 3], [1, 1, 0]) == 1
    assert math.isnan(median_ratio([], []))

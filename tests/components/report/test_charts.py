import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.report.charts import HEIGHT, WIDTH, chart, labelled, padded, round_values, strip

_values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


@given(low=_values, extent=st.floats(1e-3, 1e6), most=st.integers(2, 8))
def test_round_values_are_few_evenly_spaced_and_in_range(low: float, extent: float, most: int) -> None:
    values = round_values(low, low + extent, most)
    assert len(values) <= most + 1
    slack = extent * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= value <= low + extent + slack for value in values)
    labels = labelled(values)
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.857, 0.876, ["0.860", "0.865", "0.870", "0.875"]),
        (0, 250, ["0", "50", "100", "150", "200", "250"]),
        (-3.9, 3.4, ["-2", "0", "2"]),
        (0, 12_000, ["0", "5,000", "10,000"]),
    ],
)
def test_ticks_read_as_a_person_would_write_them(low: float, high: float, labels: list[str]) -> None:
    assert labelled(round_values(low, high)) == labels


def test_whole_ticks_have_no_parts() -> None:
    assert round_values(0.5, 2.5, smallest_step=1) == [1, 2]


def test_a_chart_puts_low_left_and_bottom_and_high_right_and_top() -> None:
    drawn = chart((0, 10), (0, 1))
    assert drawn.line([(0, 0), (10, 1)]) == "M46 188L328 12"
    assert drawn.dots([(10, 1)]) == "M328 12h0"
    assert drawn.diamonds([(10, 1)]).startswith("M328 7.5l")
    assert drawn.size == (WIDTH, HEIGHT)


def test_bars_stand_on_the_axis_with_a_gap_where_there_is_room() -> None:
    drawn = chart((0, 100), (0, 10))
    # 2.82 units for each of x, 17.6 for each of y.
    assert drawn.bars([(0, 10, 5), (10, 20, 10)]) == "M46 188V100H73.2V188zM74.2 188V12H101.4V188z"
    assert drawn.bars([(0, 1, 5)]) == "M46 188V100H48.8V188z"
    assert drawn.bars([]) == ""


def test_a_bar_that_is_there_can_be_seen() -> None:
    assert chart((0, 10), (0, 1e6)).bars([(0, 10, 1)]) == "M46 188V187H327V188z"


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0, 1e-9, 1e9])
def test_a_range_without_extent_is_widened(value: float) -> None:
    drawn = chart((value, value), (value, value))
    assert 46 < drawn.x(value) < 328
    assert drawn.x_ticks
    low, high = padded([value])
    assert low < value < high


@given(value=_values, threshold=_values, below=st.floats(0, 10), above=st.floats(0, 10))
def test_all_of_a_strip_lies_on_it(value: float, threshold: float, below: float, above: float) -> None:
    line = strip(value, threshold, value - below, value + above)
    assert line.lower is not None
    assert line.upper is not None
    for at in (line.value, line.threshold, line.lower, line.upper, *(tick.at for tick in line.ticks)):
        assert math.isfinite(at)
        assert -0.1 <= at <= 100.1
    assert line.lower <= line.value <= line.upper


def test_a_tie_is_drawn_on_a_strip_of_two_points() -> None:
    line = strip(0.0, 0.0, 0.0, 0.0, factor=100)
    assert (line.value, line.threshold) == (50, 50)
    assert [tick.label for tick in line.ticks] == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]


def test_a_strip_of_counts_begins_at_0_and_one_of_differences_is_labelled_in_points() -> None:
    counts = strip(238, 5, None, None, whole=True)
    assert (counts.lower, counts.upper) == (None, None)
    assert [tick.label for tick in counts.ticks] == ["0", "50", "100", "150", "200", "250"]
    assert [tick.label for tick in strip(0.11, 0, 0.07, 0.15, factor=100).ticks] == ["0", "5", "10", "15"]

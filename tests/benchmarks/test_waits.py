"""Commands as people wait for them."""

import pytest

from benchmarks.waits import Wait, timing, waited


def test_a_timing_sums_up_its_repeats_and_is_held_to_its_bar() -> None:
    found = timing("tunelane x", [Wait(1.0, 0.5), Wait(3.0, 0.7), Wait(0.8, 0.9)], bar_s=1.0)
    assert (found.median_wall_s, found.max_wall_s, found.cpu_s, found.is_met) == (1.0, 3.0, 0.7, False)
    assert timing("tunelane x", [Wait(0.9, 0.5)], bar_s=1.0).is_met


def test_a_command_is_run_to_its_end_with_its_processor_time() -> None:
    wait = waited("tunelane --help")
    assert wait.cpu_s > 0
    assert wait.wall_s > 0


def test_a_command_that_fails_ends_the_benchmark_with_its_words() -> None:
    with pytest.raises(SystemExit, match=r"tunelane runs lst ended with 2: .*No such command"):
        waited("tunelane runs lst")

"""Lines that people read in a log, and the live display reads back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.train.progress import Step, epoch_line, parse_epoch, parse_step, step_line

_COUNT = st.integers(0, 10**7)


@given(step=_COUNT, steps=_COUNT, loss=st.floats(0, 1e6), left_s=st.floats(0, 1e7))
def test_a_step_is_read_back_to_the_digits_it_has(step: int, steps: int, loss: float, left_s: float) -> None:
    found = parse_step(step_line(Step(step, steps, loss, left_s)))
    assert found is not None
    assert (found.step, found.steps) == (step, steps)
    assert found.loss == pytest.approx(loss, abs=0.00051)
    assert found.left_s == pytest.approx(left_s, abs=0.51)


@given(epoch=st.integers(1, 1000), f1=st.floats(0, 1), elapsed_s=st.floats(0, 1e7))
def test_an_epoch_s_f1_is_read_back(epoch: int, f1: float, elapsed_s: float) -> None:
    assert parse_epoch(epoch_line(epoch, f1, elapsed_s)) == pytest.approx(f1, abs=0.00051)


def test_the_lines_read_well() -> None:
    assert step_line(Step(10, 74, 0.69314, 89.6)) == "step 10/74 loss 0.693, about 90 s left"
    assert epoch_line(2, 0.8716, 41.2) == "epoch 2: validation macro-F1 0.872, 41 s"


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_read_too(loss: float) -> None:
    found = parse_step(step_line(Step(1, 2, loss, 3.0)))
    assert found is not None and not math.isfinite(found.loss)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "step 1",
        "step 1/2 loss 0.5, about 3 s left!",
        " step 1/2 loss 0.5, about 3 s left",
        "step 1/2 loss x, about 3 s left",
        "the text says: step 1/2 loss 0.5, about 3 s left",
    ],
)
def test_any_other_line_is_none(line: str) -> None:
    assert parse_step(line) is None
    assert parse_epoch(line) is None


def test_the_two_kinds_are_told_apart() -> None:
    assert parse_epoch(step_line(Step(1, 2, 0.5, 3.0))) is None
    assert parse_step(epoch_line(1, 0.5, 3.0)) is None

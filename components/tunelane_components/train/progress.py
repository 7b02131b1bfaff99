"""How a training says how far it is, as lines that people read in a log and the live display reads back."""

import re
from typing import NamedTuple


class Step(NamedTuple):
    """One logged step: its number of how many, the training loss there, and about how many seconds are left."""

    step: int
    steps: int
    loss: float
    left_s: float


_STEP = re.compile(r"step (\d+)/(\d+) loss (\d+\.\d+|nan|inf), about (\d+) s left")
_EPOCH = re.compile(r"epoch \d+: validation macro-F1 (\d\.\d+), \d+ s")


def step_line(step: Step) -> str:
    """The line of a logged step."""
    return f"step {step.step}/{step.steps} loss {step.loss:.3f}, about {step.left_s:.0f} s left"


def epoch_line(epoch: int, valid_macro_f1: float, elapsed_s: float) -> str:
    """The line of a finished epoch."""
    return f"epoch {epoch}: validation macro-F1 {valid_macro_f1:.3f}, {elapsed_s:.0f} s"


def parse_step(line: str) -> Step | None:
    """Read `step_line` back, to the digits that it has; None for any other line."""
    match = _STEP.fullmatch(line)
    return Step(int(match[1]), int(match[2]), float(match[3]), float(match[4])) if match else None


def parse_epoch(line: str) -> float | None:
    """The validation macro-F1 of an `epoch_line`; None for any other line."""
    match = _EPOCH.fullmatch(line)
    return float(match[1]) if match else None

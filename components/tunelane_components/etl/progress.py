"""How far a build is: what is told of it, and the lines that a log has of that."""

import logging
import time
from collections.abc import Callable

import msgspec

_EVERY_S = 5.0


class BuildProgress(msgspec.Struct, frozen=True):
    """How far a build is: `done` of `total` `unit`s of a phase."""

    phase: str
    done: int
    total: int
    unit: str


OnProgress = Callable[[BuildProgress], None]


def say_nothing(_: BuildProgress) -> None:
    """Listen and say nothing."""


def say_progress(every_s: float = _EVERY_S) -> OnProgress:
    """Give a listener that logs a line whenever so much time has passed since the last one."""
    last_s = time.monotonic()

    def say(progress: BuildProgress) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= every_s:
            last_s = now_s
            logging.getLogger(__name__).info(progress_line(progress))

    return say


def progress_line(progress: BuildProgress) -> str:
    """Word how far a build is: `read: 512 of 1,500 MB`."""
    scale, unit = (10**6, "MB") if progress.unit == "bytes" else (1, progress.unit)
    total = f" of {progress.total // scale:,}" if progress.total else ""
    return f"{progress.phase}: {progress.done // scale:,}{total} {unit}"

"""One thing that was looked at, and what was found."""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from tunelane_serving.errors import TunelaneError

Level = Literal["ok", "info", "warning", "problem"]


class Check(msgspec.Struct, frozen=True):
    """What was found of one thing.

    A problem stops something from working; a warning does not, but somebody should know. `advice` says what to do.
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def looked_at(name: str, found: str, look: Callable[[], object]) -> Iterator[Check]:
    """Look at one thing: a problem where that raises an error of the project, whose message is the advice."""
    try:
        look()
    except TunelaneError as error:
        yield Check(name, "problem", found, str(error))
    else:
        yield Check(name, "ok", found)


def gigabytes(size_bytes: float) -> str:
    """Bytes as people read them: 12.3 GB."""
    return f"{size_bytes / 1e9:.1f} GB"

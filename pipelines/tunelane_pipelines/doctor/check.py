"""One thing that was looked at, and what was found."""

from typing import Literal

import msgspec

Level = Literal["ok", "info", "warning", "problem"]


class Check(msgspec.Struct, frozen=True):
    """What was found of one thing.

    A problem stops something from working; a warning does not, but somebody should know. `advice` says what to do.
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def gigabytes(size_bytes: float) -> str:
    """Bytes as people read them: 12.3 GB."""
    return f"{size_bytes / 1e9:.1f} GB"

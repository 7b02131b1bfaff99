"""What a source gives, row by row: the values of a row with the line it stands on, or why it cannot be read."""

from typing import Any

import msgspec


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row: the line it starts on (from 1; for Parquet and transformers its place) and its values by column."""

    line: int
    values: dict[str, Any]


class MalformedRow(msgspec.Struct, frozen=True, gc=False):
    """A row that could not be read: its line, the reason's code, why in words, and what stands there."""

    line: int
    reason: str  # malformed_row or bad_encoding
    detail: str
    content: str

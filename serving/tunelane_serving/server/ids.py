"""Ids of requests and inferences."""

import os
import time

_BLOCK_BYTES = 4096
_ID_BYTES = 8


class _Randomness:
    """Random hex digits of the operating system's, fetched in blocks: a system call for each id costs more than it."""

    def __init__(self) -> None:
        self._digits = ""
        self._used = 0

    def take(self, digits: int) -> str:
        if self._used + digits > len(self._digits):
            self._digits = os.urandom(_BLOCK_BYTES).hex()
            self._used = 0
        self._used += digits
        return self._digits[self._used - digits : self._used]


_randomness = _Randomness()


def new_request_id() -> str:
    """Make an id of 32 hex digits. For one thread: the event loop's."""
    return _randomness.take(32)


def new_inference_id() -> str:
    """Make an id of 32 hex digits: the time first, so that the database's index of them grows at its end."""
    return f"{time.time_ns():016x}{_randomness.take(2 * _ID_BYTES)}"

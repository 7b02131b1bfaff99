"""Answers to texts that come again."""

import sys
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from tunelane_serving.models.model import Answer, Classification, Embedding

# What an entry takes beside its text and numbers: key, answer, array objects and the place in the order. Measured with
# tracemalloc; an answer of several arrays takes the array part again.
_ENTRY_BYTES = 300
_ARRAY_BYTES = 110


class AnswerCache:
    """Keeps the answers used last, by package digest and text, bounded by the bytes they take in memory.

    Used from one thread. Arrays in it are made read-only, since every later caller is given the same ones.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, str], tuple[Answer, int]] = OrderedDict()
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, digest: str, text: str) -> Answer | None:
        """The answer that the package of `digest` gave to `text`; counts a hit or a miss."""
        key = (digest, text)
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, digest: str, text: str, answer: Answer) -> None:
        """Keep `answer`, and drop the ones used longest ago for it. One larger than the whole cache is not kept."""
        arrays = _arrays(answer)
        size_bytes = _ENTRY_BYTES + sys.getsizeof(text) + sum(_ARRAY_BYTES + _held_bytes(array) for array in arrays)
        if size_bytes > self._max_bytes:
            return
        for array in arrays:
            array.setflags(write=False)
        key = (digest, text)
        known = self._entries.pop(key, None)
        if known is not None:
            self.size_bytes -= known[1]
        self._entries[key] = (answer, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            _, (_, dropped_bytes) = self._entries.popitem(last=False)
            self.size_bytes -= dropped_bytes


def _arrays(answer: Answer) -> list[NDArray[Any]]:
    if isinstance(answer, Classification):
        return [answer.scores]
    if isinstance(answer, Embedding):
        return [answer.vector]
    return list(answer.tensors.values())


def _held_bytes(array: NDArray[Any]) -> int:
    """A row of a larger array keeps all of that in memory."""
    return int(getattr(array.base, "nbytes", array.nbytes))

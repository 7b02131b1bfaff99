"""Answers to texts that come again."""

import sys
from collections import OrderedDict

from tunelane_serving.models.model import Answer, Classification, Outputs

# What an entry takes beside its text and numbers: key, answer, array and the place in the order. Measured with
# tracemalloc.
_ENTRY_BYTES = 410


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
        # No model answers a text with these.
        if isinstance(answer, Outputs):
            return
        array = answer.scores if isinstance(answer, Classification) else answer.vector
        # A row of a larger array keeps all of that in memory.
        size_bytes = _ENTRY_BYTES + sys.getsizeof(text) + int(getattr(array.base, "nbytes", array.nbytes))
        if size_bytes > self._max_bytes:
            return
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

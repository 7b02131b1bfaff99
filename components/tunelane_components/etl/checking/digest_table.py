"""Which of many values stand more than once, with 16 bytes kept for each."""

import hashlib
from collections.abc import Iterator

import numpy as np

_DIGEST_BYTES = 16


class DigestTable:
    """Digests of values in the order they were added. Two of a billion different values share one with chance 1e-21."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST_BYTES

    def add(self, value: str) -> None:
        """Take one value at the next position."""
        self._digests += hashlib.blake2b(value.encode(), digest_size=_DIGEST_BYTES).digest()

    def repeats(self) -> Iterator[tuple[int, int]]:
        """Yield (position of a value's first occurrence, position of a later one), in the order of the later ones."""
        if len(self) < 2:
            return
        halves = np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2)
        # Stable, so that equal values stay in the order they were added.
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        same = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
        later = np.flatnonzero(same) + 1
        # For each place in the sorted order, where its run of equal values starts.
        starts = np.arange(len(order))
        starts[later] = 0
        starts = np.maximum.accumulate(starts)
        pairs = np.column_stack((order[starts[later]], order[later]))
        for first, second in pairs[np.argsort(pairs[:, 1], kind="stable")]:
            yield int(first), int(second)

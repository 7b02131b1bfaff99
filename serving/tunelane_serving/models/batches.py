"""Texts of equal length run together, and whether that changes an answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.models.model import Prepared

# Enough to meet the kernels that several rows are given; short, since a server waits for it.
_ROWS = 4
_LENGTH_TOKENS = 16


def stacked(prepared: Sequence[Prepared]) -> Mapping[str, NDArray[Any]]:
    """Put items of equal length on one batch axis."""
    if len(prepared) == 1:
        return prepared[0].feed
    return {name: np.concatenate([item.feed[name] for item in prepared]) for name in prepared[0].feed}


def answers_alike_together(rows: Sequence[Prepared], raw: Callable[[Sequence[Prepared]], NDArray[np.float32]]) -> bool:
    """Whether texts give the same bits together as alone on this machine.

    That hangs on the kernels that a CPU is given. So what was proved where the package was built is tried again where
    it serves: on its golden rows, cut to equal length.

    Args:
        rows: tokenised texts of any length.
        raw: gives the graph's raw output for texts of equal length, batch axis first.
    """
    if len(rows) < 2:
        return False
    chosen = sorted(rows, key=lambda row: row.length)[-_ROWS:]
    length = min(_LENGTH_TOKENS, chosen[0].length)
    cut = [Prepared({name: array[:, :length] for name, array in row.feed.items()}, length) for row in chosen]
    return all(np.array_equal(raw([row])[0], found) for row, found in zip(cut, raw(cut), strict=True))

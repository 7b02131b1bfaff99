"""What a loaded graph is, whatever framework runs it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from tunelane_serving.package import Tensor


class Graph(Protocol):
    """A loaded graph. Safe to call from several threads. `size_bytes` is about what it holds in memory."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    size_bytes: int

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Give the outputs in order. `feed` has an array for each input, batch axis first."""
        ...


def named_shape(shape: Sequence[int | str | None]) -> tuple[int | str, ...]:
    """Give every dynamic axis that has no name one: "batch" for the first, "axis_1" and so on after it."""
    return tuple(
        size if isinstance(size, str) or (size is not None and size >= 0) else f"axis_{axis}" if axis else "batch"
        for axis, size in enumerate(shape)
    )

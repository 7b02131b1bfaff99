"""One feature of a request as an array, or in one line what is wrong with it."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunelane_serving.package import Tensor

_FLOATS = ("float16", "float32", "float64")
_TYPES: dict[str, tuple[frozenset[type], str]] = {
    **dict.fromkeys(_FLOATS, (frozenset({float, int}), "a number")),
    **{f"{sign}int{bits}": (frozenset({int}), "a whole number") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bool": (frozenset({bool}), "true or false"),
    "string": (frozenset({str}), "a text"),
}


def feature_array(tensor: Tensor, value: object, sizes: dict[str, int]) -> tuple[NDArray[Any] | None, str]:
    """Make an array of shape (1, …) of nested lists.

    Python's own types are looked at, not what numpy would make of them: true is no number, and "1" is none either.

    Args:
        tensor: what the graph takes, batch axis first.
        value: numbers, booleans or texts in as many lists as there are axes after the first.
        sizes: the size of every dynamic axis so far, by name: axes of one name are of one size. Added to.

    Returns:
        The array and "", or None and what is wrong.
    """
    if tensor.dtype not in _TYPES:
        return None, f"{tensor.name}: {tensor.dtype} cannot be given as JSON"
    allowed, wanted = _TYPES[tensor.dtype]
    # Level by level, so that neither depth nor raggedness costs more than the levels that are asked for.
    level: list[Any] = [value]
    shape: list[int] = []
    for size in tensor.shape[1:]:
        if set(map(type, level)) != {list}:
            odd = next(position for position, part in enumerate(level) if type(part) is not list)
            return None, f"{_place(tensor, shape, odd)}: a list is expected, found {_shown(level[odd])}"
        lengths = set(map(len, level))
        expected = sizes.get(size) if isinstance(size, str) else size
        if expected is None:
            expected = len(level[0])
            if not expected:
                return None, f"{_place(tensor, shape, 0)}: the list is empty"
            sizes[str(size)] = expected
        if lengths != {expected}:
            odd = next(position for position, part in enumerate(level) if len(part) != expected)
            return None, f"{_place(tensor, shape, odd)}: {expected} entries are expected, found {len(level[odd])}"
        shape.append(expected)
        level = list(chain.from_iterable(level))
    if not set(map(type, level)) <= allowed:
        odd = next(position for position, part in enumerate(level) if type(part) not in allowed)
        return None, f"{_place(tensor, shape, odd)}: {wanted} is expected, found {_shown(level[odd])}"
    try:
        with np.errstate(over="raise"):
            array = np.array(level, object if tensor.dtype == "string" else tensor.dtype)
        in_range = tensor.dtype not in _FLOATS or bool(np.isfinite(array).all())
    except (OverflowError, FloatingPointError):
        in_range = False
    if not in_range:
        return None, f"{tensor.name}: a number is out of the range of {tensor.dtype}"
    return array.reshape(1, *shape), ""


def _place(tensor: Tensor, shape: list[int], position: int) -> str:
    """Name a place in nested lists by its indices: "image[0][27]"."""
    return tensor.name + "".join(f"[{index}]" for index in np.unravel_index(position, shape)) if shape else tensor.name


def _shown(value: object) -> str:
    """Say what stands there instead, shortly."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = (
        repr(value) if isinstance(value, str) else str(value)[:40] if not isinstance(value, int) else "a whole number"
    )
    return text if len(text) <= 40 else f"{text[:39]}…"

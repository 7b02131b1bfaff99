from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_serving.models.features import feature_array
from tunelane_serving.package import Tensor

_MATRIX = Tensor("x", "float32", ("batch", 2, "width"))


def _nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("tensor", "value", "expected"),
    [
        (_MATRIX, [[1, 2.5, 3], [4, 5, 6]], np.array([[[1, 2.5, 3], [4, 5, 6]]], np.float32)),
        (Tensor("x", "int64", ("batch",)), -(2**63), np.array([-(2**63)])),
        (Tensor("x", "uint8", (1, 2)), [0, 255], np.array([[0, 255]], np.uint8)),
        (Tensor("x", "bool", ("batch", 2)), [True, False], np.array([[True, False]])),
        (Tensor("x", "string", ("batch", 2)), ["a", "日本"], np.array([["a", "日本"]], object)),
        (Tensor("x", "float16", ("batch", 1)), [65504], np.array([[65504]], np.float16)),
    ],
)
def test_nested_lists_become_an_array_with_a_batch_axis(tensor: Tensor, value: Any, expected: np.ndarray) -> None:
    array, finding = feature_array(tensor, value, {})
    assert (array is not None, finding) == (True, "")
    assert array is not None
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("tensor", "value", "finding"),
    [
        (_MATRIX, 1.0, "x: a list is expected, found 1.0"),
        (_MATRIX, None, "x: a list is expected, found null"),
        (_MATRIX, {"a": 1}, "x: a list is expected, found an object"),
        (_MATRIX, [[1.0]], "x: 2 entries are expected, found 1"),
        (_MATRIX, [[1.0], [1.0, 2.0]], "x[1]: 1 entries are expected, found 2"),
        (_MATRIX, [[1.0], 2.0], "x[1]: a list is expected, found 2.0"),
        (_MATRIX, [[], []], "x[0]: the list is empty"),
        (_MATRIX, [[1.0], ["NaN"]], "x[1][0]: a number is expected, found 'NaN'"),
        (_MATRIX, [[1.0], [True]], "x[1][0]: a number is expected, found true"),
        (_MATRIX, [[1.0], [None]], "x[1][0]: a number is expected, found null"),
        (_MATRIX, [[1.0], [[1.0]]], "x[1][0]: a number is expected, found a list"),
        (_MATRIX, _nested(5000), "x: 2 entries are expected, found 1"),
        (_MATRIX, [[1.0], [1e39]], "x: a number is out of the range of float32"),
        (_MATRIX, [[1.0], [10**400]], "x: a number is out of the range of float32"),
        (_MATRIX, [[1.0], [float("nan")]], "x: a number is out of the range of float32"),
        (Tensor("x", "float16", ("batch", 1)), [65536], "x: a number is out of the range of float16"),
        (Tensor("x", "int8", ("batch", 1)), [128], "x: a number is out of the range of int8"),
        (Tensor("x", "int64", ("batch", 1)), [2**63], "x: a number is out of the range of int64"),
        (Tensor("x", "uint8", ("batch", 1)), [-1], "x: a number is out of the range of uint8"),
        (Tensor("x", "int64", ("batch", 1)), [1.0], "x[0]: a whole number is expected, found 1.0"),
        (Tensor("x", "int64", ("batch", 1)), [True], "x[0]: a whole number is expected, found true"),
        (Tensor("x", "bool", ("batch", 1)), [1], "x[0]: true or false is expected, found a whole number"),
        (Tensor("x", "string", ("batch", 1)), [1], "x[0]: a text is expected, found a whole number"),
        (Tensor("x", "string", ("batch",)), ["a" * 99], "x: a text is expected, found a list"),
        (Tensor("x", "complex64", ("batch",)), 1, "x: complex64 cannot be given as JSON"),
        (Tensor("x", "float32", ("batch", 1)), ["y" * 99], f"x[0]: a number is expected, found '{'y' * 38}…"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(tensor: Tensor, value: Any, finding: str) -> None:
    assert feature_array(tensor, value, {}) == (None, finding)


def test_dynamic_axes_of_one_name_are_of_one_size() -> None:
    sizes: dict[str, int] = {}
    tokens, mask = (Tensor(name, "int64", ("batch", "sequence")) for name in ("tokens", "mask"))
    assert feature_array(tokens, [1, 2, 3], sizes)[1] == ""
    assert feature_array(mask, [1, 2], sizes) == (None, "mask: 3 entries are expected, found 2")
    assert feature_array(mask, [1, 1, 1], sizes)[1] == ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(
    value=_JSON,
    dtype=st.sampled_from(("float16", "float32", "int8", "int64", "uint64", "bool", "string")),
    shape=st.lists(st.sampled_from((1, 2, "width", "height")), max_size=3),
)
def test_any_json_is_an_array_of_the_asked_shape_or_one_line_that_says_why_not(
    value: Any, dtype: str, shape: list[int | str]
) -> None:
    array, finding = feature_array(Tensor("x", dtype, ("batch", *shape)), value, {})
    if array is None:
        assert finding.startswith("x")
        assert "\n" not in finding
    else:
        assert finding == ""
        assert array.shape[0] == 1
        assert array.ndim == len(shape) + 1
        assert all(isinstance(size, str) or size == found for size, found in zip(shape, array.shape[1:], strict=True))
        assert array.tolist()[0] == value or dtype.startswith("float")

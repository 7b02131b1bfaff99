import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunelane_components.etl.balance import class_weights, few_rows
from tunelane_components.etl.split import Split

COUNTS = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 1_000), min_size=1)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    rows = ["a"] * 70 + ["b"] * 25 + ["c"] * 5
    expected = compute_class_weight("balanced", classes=np.array(["a", "b", "c"]), y=np.array(rows))
    found = class_weights({"a": 70, "b": 25, "c": 5}, 100, multi_label=False)
    assert list(found.values()) == pytest.approx(expected.tolist())


def test_several_labels_a_row_weigh_absent_against_present() -> None:
    assert class_weights({"a": 50, "b": 20, "c": 0}, 100, multi_label=True) == {"a": 1.0, "b": 4.0}


@given(COUNTS)
def test_weighted_rows_sum_to_the_rows(counts: dict[str, int]) -> None:
    rows = sum(counts.values())
    weights = class_weights(counts, rows, multi_label=False)
    assert sum(weights[label] * count for label, count in counts.items() if count) == pytest.approx(rows)


def test_labels_with_few_rows_are_named_by_split_and_counted() -> None:
    labels: dict[Split, dict[str, int]] = {
        "train": {"a": 100, "b": 5},
        "valid": {"a": 4, "b": 9},
        "test": dict.fromkeys("abcdefgh", 0),
    }
    assert few_rows(labels) == [
        "1 label has fewer than 5 rows in valid: a (4).",
        "8 labels have fewer than 5 rows in test: a (0), b (0), c (0), d (0), e (0), f (0) and 2 more.",
    ]


def test_labels_above_others_may_have_few_rows() -> None:
    labels: dict[Split, dict[str, int]] = {"train": {"group": 0, "leaf": 9}}
    assert few_rows(labels, exempt=["group"]) == []

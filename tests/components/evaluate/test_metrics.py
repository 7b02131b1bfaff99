import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from tunelane_components.evaluate.metrics import (
    accuracy,
    confusion_matrix,
    count,
    indicators,
    macro_f1,
    micro_f1,
    weighted_f1,
)
from tunelane_serving.errors import ContractError

LABELS = tuple("abcdefg")


@st.composite
def multi_label(draw):
    """Draw two boolean matrices of one shape (rows, labels)."""
    shape = draw(st.tuples(st.integers(1, 30), st.integers(2, 7)))
    return draw(arrays(np.bool_, shape)), draw(arrays(np.bool_, shape))


@st.composite
def single_label(draw):
    """Draw true and predicted label names, as many of one as of the other."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60))
    return [truth for truth, _ in pairs], [predicted for _, predicted in pairs]


@given(single_label())
def test_single_label_figures_are_those_of_scikit_learn(names):
    truth, predicted = (indicators(([name] for name in column), LABELS) for column in names)
    counts = count(truth, predicted)
    # macro: scikit-learn with its default labels, the union of those in either column
    assert macro_f1(counts) == pytest.approx(f1_score(*names, average="macro"), abs=1e-12)
    assert micro_f1(counts) == pytest.approx(f1_score(*names, average="micro"), abs=1e-12)
    assert weighted_f1(counts) == pytest.approx(f1_score(*names, average="weighted"), abs=1e-12)
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(*names), abs=1e-12)
    assert (confusion_matrix(truth, predicted) == sklearn_confusion_matrix(*names, labels=LABELS)).all()


@given(multi_label())
def test_multi_label_figures_are_those_of_scikit_learn(matrices):
    truth, predicted = matrices
    counts = count(truth, predicted)
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, zero_division=0)
    np.testing.assert_allclose(counts.precision, precision, atol=1e-12)
    np.testing.assert_allclose(counts.recall, recall, atol=1e-12)
    np.testing.assert_allclose(counts.f1, f1, atol=1e-12)
    np.testing.assert_array_equal(counts.support, support)
    np.testing.assert_array_equal(counts.false_positives, (~truth & predicted).sum(axis=0))
    np.testing.assert_array_equal(counts.false_negatives, (truth & ~predicted).sum(axis=0))
    occurring = np.flatnonzero(truth.any(axis=0) | predicted.any(axis=0))
    expected = f1[occurring].mean() if occurring.size else 0.0
    assert macro_f1(counts) == pytest.approx(expected, abs=1e-12)
    for average, figure in (("micro", micro_f1), ("weighted", weighted_f1)):
        assert figure(counts) == pytest.approx(f1_score(truth, predicted, average=average, zero_division=0), abs=1e-12)
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)


@settings(max_examples=200)
@given(multi_label(), st.randoms(use_true_random=False))
def test_label_order_does_not_change_the_last_bit(matrices, random):
    truth, predicted = matrices
    order = list(range(truth.shape[1]))
    random.shuffle(order)
    straight, shuffled = count(truth, predicted), count(truth[:, order], predicted[:, order])
    for figure in (macro_f1, micro_f1, weighted_f1):
        assert figure(straight) == figure(shuffled)


def test_a_label_that_nobody_has_and_nobody_predicts_is_left_out_of_the_mean():
    truth, predicted = indicators([["a"], ["b"]], "abc"), indicators([["a"], ["b"]], "abc")
    assert macro_f1(count(truth, predicted)) == 1.0


def test_a_label_that_is_only_predicted_counts_as_zero():
    truth, predicted = indicators([["a"], ["a"]], "ab"), indicators([["a"], ["b"]], "ab")
    assert macro_f1(count(truth, predicted)) == pytest.approx((2 / 3 + 0) / 2)


def test_a_label_outside_the_taxonomy_is_named():
    with pytest.raises(ContractError, match=r"^label 'z' is not in the taxonomy; it has 'a', 'b'$"):
        indicators([["a"], ["z"]], "ab")

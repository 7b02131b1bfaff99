import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tunelane_components.evaluate import bootstrap
from tunelane_components.evaluate.bootstrap import intervals, label_intervals, paired_delta
from tunelane_components.evaluate.metrics import count, macro_f1


def one_hot(columns: np.ndarray, labels: int) -> np.ndarray:
    return np.eye(labels, dtype=bool)[columns]


def drawn(rows: int, labels: int, right: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and a model that is right on about that share of the rows: (rows, labels) each."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, labels, rows)
    guess = np.where(generator.random(rows) < right, truth, generator.integers(0, labels, rows))
    return one_hot(truth, labels), one_hot(guess, labels)


def test_the_interval_is_that_of_a_plain_loop_over_resamples():
    truth, predicted = drawn(rows=60, labels=3, right=0.6, seed=1)
    generator = np.random.default_rng(5)
    values = []
    for _ in range(199):
        rows = generator.integers(0, 60, 60)
        values.append(f1_score(truth[rows].argmax(1), predicted[rows].argmax(1), average="macro"))
    macro = intervals(truth, predicted, resamples=199, seed=5).macro
    # (199 + 1) * 0.025: the 5th smallest and the 5th largest
    assert (macro.lower, macro.upper) == pytest.approx((sorted(values)[4], sorted(values)[-5]), abs=1e-12)
    assert macro.value == float(macro_f1(count(truth, predicted)))


def test_a_labels_interval_is_that_of_a_plain_loop_over_resamples():
    truth, predicted = drawn(rows=60, labels=3, right=0.6, seed=1)
    generator = np.random.default_rng(5)
    values = []
    for _ in range(199):
        rows = generator.integers(0, 60, 60)
        values.append(f1_score(truth[rows].argmax(1), predicted[rows].argmax(1), average=None, labels=range(3)))
    for label, interval in enumerate(label_intervals(truth, predicted, resamples=199, seed=5)):
        ordered = sorted(value[label] for value in values)
        assert (interval.lower, interval.upper) == pytest.approx((ordered[4], ordered[-5]), abs=1e-12)
        assert interval.value == count(truth, predicted).f1[label]


def test_the_interval_covers_the_true_figure_about_as_often_as_it_says():
    # Accuracy of a model that is right with probability 0.7: micro-F1 of a single-label task.
    generator = np.random.default_rng(0)
    truth = one_hot(np.zeros(150, int), 2)
    covered = 0
    for seed in range(200):
        predicted = one_hot((generator.random(150) >= 0.7).astype(int), 2)
        micro = intervals(truth, predicted, resamples=400, seed=seed).micro
        covered += micro.lower <= 0.7 <= micro.upper
    assert 0.90 <= covered / 200 <= 0.99


def test_chunks_change_nothing(monkeypatch):
    truth, predicted = drawn(rows=101, labels=4, right=0.7, seed=3)
    whole = intervals(truth, predicted, resamples=50, seed=2)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", 7 * 101 * 24)
    assert intervals(truth, predicted, resamples=50, seed=2) == whole


def test_wide_matrices_count_as_exactly_as_narrow_ones(monkeypatch):
    truth, predicted = drawn(rows=101, labels=4, right=0.7, seed=3)
    single = intervals(truth, predicted, resamples=50)
    monkeypatch.setattr(bootstrap, "_FLOAT32_INTEGERS", 0)
    assert intervals(truth, predicted, resamples=50) == single


def test_the_seed_decides_the_interval_and_not_the_value():
    truth, predicted = drawn(rows=200, labels=3, right=0.7, seed=4)
    first, again, other = (intervals(truth, predicted, resamples=100, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.macro.value == other.macro.value
    assert first.macro != other.macro


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_label_order_does_not_change_the_last_bit(rows, labels, seed, random):
    truth, predicted = drawn(rows, labels, right=0.6, seed=seed)
    _, other = drawn(rows, labels, right=0.4, seed=seed)
    order = list(range(labels))
    random.shuffle(order)
    assert intervals(truth, predicted, resamples=60) == intervals(truth[:, order], predicted[:, order], resamples=60)
    assert paired_delta(truth, predicted, other, resamples=60) == paired_delta(
        truth[:, order], predicted[:, order], other[:, order], resamples=60
    )


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 1000), st.integers(1, 80))
def test_swapping_the_models_negates_every_figure(rows, labels, seed, resamples):
    truth, predicted = drawn(rows, labels, right=0.6, seed=seed)
    _, other = drawn(rows, labels, right=0.4, seed=seed)
    there = paired_delta(truth, predicted, other, resamples=resamples, seed=seed)
    back = paired_delta(truth, other, predicted, resamples=resamples, seed=seed)
    assert (there.value, there.lower, there.upper) == (-back.value, -back.upper, -back.lower)


def test_pairing_tells_apart_what_separate_intervals_cannot():
    # Both err on the same 300 rows of 1,000; one errs on 20 more.
    truth = one_hot(np.arange(1000) % 2, 2)
    better, worse = truth.copy(), truth.copy()
    better[:300] = ~better[:300]
    worse[:320] = ~worse[:320]
    assert paired_delta(truth, better, worse).lower > 0
    assert intervals(truth, better).macro.lower < intervals(truth, worse).macro.upper


def test_two_thousand_rows_of_28_labels_take_about_a_second():
    truth, predicted = drawn(rows=2000, labels=28, right=0.7, seed=0)
    before = time.process_time()
    intervals(truth, predicted)
    assert time.process_time() - before < 5.0

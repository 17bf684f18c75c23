import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from job.evaluation.metrics import evaluate, wilson_interval


def predictions(seed, rows=500, classes=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.where(
        rng.random(rows) < 0.6, probabilities.argmax(axis=1), rng.integers(classes, size=rows)
    )
    return probabilities.astype(np.float32), y.astype(np.int32)


@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(seed):
    probabilities, y = predictions(seed)
    predicted = probabilities.argmax(axis=1)
    got = evaluate(probabilities, y, ("a", "b", "c", "d"))
    assert got.accuracy == pytest.approx(sk.accuracy_score(y, predicted))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert got.loss == pytest.approx(sk.log_loss(y, exact), rel=1e-5)
    np.testing.assert_array_equal(got.confusion_matrix, sk.confusion_matrix(y, predicted))
    for i, expected in enumerate(
        zip(*sk.precision_recall_fscore_support(y, predicted), strict=True)
    ):
        c = got.per_class[i]
        assert (c.precision, c.recall, c.f1, c.support) == pytest.approx(expected)


def test_a_class_never_predicted_and_a_class_without_rows_score_zero():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]], np.float32)
    got = evaluate(probabilities, np.array([0, 1], np.int32), (1, 2, 3))
    assert [c.precision for c in got.per_class] == [0.5, 0.0, 0.0]
    assert [c.recall for c in got.per_class] == [1.0, 0.0, 0.0]
    assert [c.support for c in got.per_class] == [1, 1, 0]


def test_calibration_error_by_hand():
    # Two bins: 0.9 said twice and right once, 0.6 said twice and right twice.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], np.float32)
    got = evaluate(probabilities, np.array([0, 1, 0, 1], np.int32), ("no", "yes"))
    assert got.calibration_error == pytest.approx(0.5 * 0.4 + 0.5 * 0.4, abs=1e-6)
    assert [(b.count, b.accuracy) for b in got.calibration] == [(2, 1.0), (2, 0.5)]


def test_a_certain_and_wrong_answer_keeps_the_loss_finite():
    got = evaluate(np.array([[1.0, 0.0]], np.float32), np.array([1], np.int32), ("a", "b"))
    assert got.loss == pytest.approx(-math.log(1e-7))


def test_wilson_interval_of_the_textbook():
    # Agresti and Coull (1998): 0 of 10 gives (0, 0.2775).
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(9686, 10_000) == pytest.approx((0.96500, 0.97184), abs=1e-4)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share(pair):
    successes, trials = pair
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1

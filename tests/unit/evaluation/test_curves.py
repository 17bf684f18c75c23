"""Curves of two classes beside scikit-learn's, and what a threshold does and costs."""

import numpy as np
import pytest
from sklearn import metrics as sk

from job.evaluation import curves
from job.evaluation.curves import Curves
from job.evaluation.threshold import Threshold, decide

CLASSES = ("no", "yes")


def answers(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties, and the true classes, of which a fifth is `yes`."""
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.2).astype(np.int32)
    yes = np.clip(0.3 * y + rng.normal(0.35, 0.2, rows), 0, 1).round(2).astype(np.float32)
    return np.stack([1 - yes, yes], axis=1), y


def made(seed: int, rule: str | None = None, value: float = 0.5) -> Curves:
    threshold = Threshold(label="yes", value=value, rule=rule) if rule else None
    found = curves.curves(*answers(seed), CLASSES, np.array([0.8, 0.2]), threshold)
    assert found
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_curves_are_scikit_learns(seed: int) -> None:
    probabilities, y = answers(seed)
    got = made(seed)
    false, true, thresholds = sk.roc_curve(y, probabilities[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(got.recall, true[1:])
    np.testing.assert_allclose(got.false_positive_rate, false[1:])
    np.testing.assert_allclose(got.thresholds, thresholds[1:])
    precision, recall, _ = sk.precision_recall_curve(y, probabilities[:, 1])
    np.testing.assert_allclose(got.precision[::-1], precision[:-1])
    np.testing.assert_allclose(got.recall[::-1], recall[:-1])
    area = sk.average_precision_score(y, probabilities[:, 1])
    assert got.average_precision == pytest.approx(area)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.31, 0.5, 1.0])
def test_a_threshold_does_what_deciding_by_it_does(value: float) -> None:
    probabilities, y = answers(4)
    got = made(4, "f1", value)
    predicted = decide(probabilities, CLASSES, Threshold(label="yes", value=value, rule="f1"))
    point = got.at(value)
    (right, alarms), (missed, found) = sk.confusion_matrix(y, predicted)
    assert (point.found, point.alarms, point.missed) == (found, alarms, missed)
    assert right == got.rows - found - alarms - missed
    scores = sk.precision_recall_fscore_support(y, predicted, average="binary", zero_division=0)
    assert (point.precision, point.recall, point.f1) == pytest.approx(scores[:3])
    assert point.cost is None


def test_a_cost_counts_misses_and_false_alarms() -> None:
    got = made(5, "cost=5:2", 0.4)
    point = got.at(0.4)
    assert point.cost == pytest.approx((5 * point.missed + 2 * point.alarms) / got.rows)
    assert got.cost is not None
    assert got.cost[-1] == pytest.approx(2 * (got.rows - got.positives) / got.rows)


def test_levels_reach_their_recall_with_the_highest_threshold() -> None:
    got = made(6, "f1", 0.37)
    points = got.levels()
    assert [point.threshold for point in points] == sorted(
        (point.threshold for point in points), reverse=True
    )
    assert [point for point in points if point.threshold == 0.37] == [got.at(0.37)]
    for recall in curves.RECALLS:
        best = max(point.threshold for point in points if point.recall >= recall)
        above = got.thresholds[got.thresholds > best]
        assert not len(above) or got.at(float(above[-1])).recall < recall


def test_the_gain_of_a_perfect_ranking_and_of_none() -> None:
    y = np.array([1] * 2 + [0] * 8, np.int32)
    yes = np.linspace(1, 0, 10, dtype=np.float32)
    perfect = curves.curves(np.stack([1 - yes, yes], 1), y, CLASSES, np.array([0.8, 0.2]), None)
    assert perfect
    assert perfect.gain(0.1) == pytest.approx(0.5)
    assert perfect.gain(0.2) == pytest.approx(1)
    same = np.full((10, 2), 0.5, np.float32)
    nothing = curves.curves(same, y, CLASSES, np.array([0.8, 0.2]), None)
    assert nothing
    assert nothing.gain(0.1) == pytest.approx(0.1)


def test_the_class_is_that_of_the_threshold_or_else_the_rarer_one() -> None:
    probabilities, y = answers(7)
    shares = np.array([0.2, 0.8])
    rarer = curves.curves(probabilities, y, CLASSES, shares, None)
    assert rarer
    assert (rarer.label, rarer.other, rarer.positives) == ("no", "yes", int((y == 0).sum()))
    named = Threshold(label="yes", value=0.4, rule="0.4")
    chosen = curves.curves(probabilities, y, CLASSES, shares, named)
    assert chosen
    assert chosen.label == "yes"


def test_no_curves_without_two_classes() -> None:
    probabilities, y = answers(8)
    shares = np.array([0.5, 0.5])
    assert curves.curves(probabilities, np.zeros_like(y), CLASSES, shares, None) is None
    three = np.full((9, 3), 1 / 3, np.float32)
    classes = ("a", "b", "c")
    rows = np.arange(9, dtype=np.int32) % 3
    assert curves.curves(three, rows, classes, np.full(3, 1 / 3), None) is None


def test_the_classes_that_are_ranked_worst_come_first_and_are_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 6, 400).astype(np.int32)
    logits = rng.normal(size=(400, 7)) + 2.0 * np.eye(7)[y] * np.arange(7)
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    found = curves.hardest(probabilities, y, tuple("abcdefg"), 4)  # g has no rows
    areas = [sk.roc_auc_score(y == k, probabilities[:, k]) for k in range(6)]
    assert [curve.label for _, curve in found] == ["abcdef"[k] for k in np.argsort(areas)[:4]]
    np.testing.assert_allclose([area for area, _ in found], np.sort(areas)[:4])
    k = int(np.argmin(areas))
    worst = found[0][1]
    assert worst.average_precision == pytest.approx(
        sk.average_precision_score(y == k, probabilities[:, k])
    )
    assert (worst.rows, worst.positives) == (400, (y == k).sum())
    assert curves.hardest(probabilities[:, :2], y % 2, ("a", "b"), 4) == ()

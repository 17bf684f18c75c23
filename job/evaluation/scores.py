"""The metrics besides accuracy: ROC AUC, average precision, log loss, Brier, F1, and baselines.

Every function takes probabilities (rows, classes), float32, and true classes (rows,), int32, as
indices. A mean over classes takes the classes that have test rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.config.gate import Metric
from job.data.place import average, beside, blocks

LOWER_IS_BETTER = frozenset({"log_loss", "brier"})

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "f1": "macro F1",
    "brier": "Brier score",
    "matthews": "Matthews correlation",
}
"""Name of a score → its name in a sentence; the order in which scores are shown."""

EPSILON = 1e-7
"""Probabilities are clipped to this for the logarithm, as Keras does."""

UNEVEN = 0.5
"""Classes are uneven when the rarest has less than this part of its even share of the rows."""

THRESHOLDS = 1 << 20
"""Thresholds of a ranking, about: up to so many rows, each score that occurs is one."""

Probabilities = NDArray[np.float32]
Indices = NDArray[np.int32] | NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Every score that ranks versions; see TITLES. None where the test rows do not define it.

    Attributes:
        accuracy: Share of rows whose predicted class is the true one.
        balanced_accuracy: Mean recall of the classes.
        roc_auc: Area under the ROC curve; of more than two classes, one against the rest, mean.
        average_precision: Of the rarer of two classes; of more, one against the rest, mean.
        log_loss: Mean negative log-likelihood, nats.
        f1: Mean F1 of the classes.
        brier: Squared errors of the probabilities, summed over the classes, mean; 0 to 2.
        matthews: Correlation of predicted and true classes, -1 to 1.
    """

    accuracy: float
    balanced_accuracy: float
    roc_auc: float | None
    average_precision: float | None
    log_loss: float
    f1: float
    brier: float
    matthews: float


def scores(probabilities: Probabilities, y: Indices, predicted: Indices) -> Scores:
    """Scores predictions.

    Args:
        probabilities: (rows, classes), float32.
        y: (rows,); the true classes.
        predicted: (rows,); the classes that the model decides for.

    Sources:
        ROC AUC: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27
            (2006); one against the rest without weights.
        average precision: sum of precision times the step in recall, without interpolation
            (Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, chapter 8).
        balanced accuracy: Brodersen et al., ICPR 2010.
        Brier: Brier, Monthly Weather Review 78 (1950), the form for several classes.
        Matthews: Gorodkin, Computational Biology and Chemistry 28 (2004), for several classes.
    """
    count = probabilities.shape[1]
    confusion = confusion_matrix(y, predicted, count)
    return Scores(
        accuracy=average(lambda some: predicted[some] == y[some], len(y)),
        balanced_accuracy=balanced_accuracy(confusion),
        roc_auc=_over_classes(Ranking.roc_auc, probabilities, y),
        average_precision=_over_classes(Ranking.average_precision, probabilities, y),
        log_loss=log_loss(probabilities, y),
        f1=macro_f1(confusion),
        brier=_brier(probabilities, y),
        matthews=_matthews(confusion),
    )


def score(
    metric: Metric, probabilities: Probabilities, y: Indices, predicted: Indices
) -> float | None:
    """One of `Scores`; arguments as `scores`."""
    if metric == "accuracy":
        return average(lambda some: predicted[some] == y[some], len(y))
    if metric == "log_loss":
        return log_loss(probabilities, y)
    if metric in ("roc_auc", "average_precision"):
        area = Ranking.roc_auc if metric == "roc_auc" else Ranking.average_precision
        return _over_classes(area, probabilities, y)
    confusion = confusion_matrix(y, predicted, probabilities.shape[1])
    return macro_f1(confusion) if metric == "f1" else balanced_accuracy(confusion)


def baseline(y: Indices, shares: NDArray[np.float64]) -> Scores:
    """What a model reaches that knows nothing but the classes' shares.

    It predicts the most common class, and its probabilities are the shares.

    Args:
        y: (rows,); the true classes of the test rows.
        shares: (classes,); each class's share of the training rows.
    """
    probabilities, predicted = constant(len(y), shares)
    return scores(probabilities, y, predicted)


def constant(rows: int, shares: NDArray[np.float64]) -> tuple[Probabilities, NDArray[np.int64]]:
    """The probabilities and predicted classes of a model that knows the classes' shares only."""
    probabilities = np.broadcast_to(shares.astype(np.float32), (rows, len(shares)))
    return probabilities, np.broadcast_to(shares.argmax(), rows)


def default_metric(counts: NDArray[np.int64] | NDArray[np.float64]) -> Metric:
    """The metric for classes with so many rows, or such shares of them.

    Balanced accuracy for uneven classes: a model that ignores one of them loses all of its part.
    """
    even_share = counts.sum() / len(counts)
    return "balanced_accuracy" if counts.min() < UNEVEN * even_share else "accuracy"


def better_by(metric: str, ours: float, theirs: float) -> float:
    """How much better one score is than another, in the metric's units; negative when worse."""
    return theirs - ours if metric in LOWER_IS_BETTER else ours - theirs


def confusion_matrix(y: Indices, predicted: Indices, classes: int) -> NDArray[np.int64]:
    """(classes, classes): rows by [true class, predicted class]."""
    found = np.zeros(classes**2, np.int64)
    for some in blocks(len(y)):
        found += np.bincount(y[some].astype(np.int64) * classes + predicted[some], None, classes**2)
    return found.reshape(classes, classes)


def log_loss(probabilities: Probabilities, y: Indices) -> float:
    """The mean negative log-likelihood, nats."""
    return average(lambda some: losses(probabilities[some], y[some]), len(y))


def losses(probabilities: Probabilities, y: Indices) -> NDArray[np.float64]:
    """(rows,): the negative log-likelihood of each row, nats."""
    true = probabilities[np.arange(len(y)), y].astype(np.float64)
    return -np.log(np.clip(true, EPSILON, 1 - EPSILON))


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Mean recall of the classes that have rows."""
    support = confusion.sum(axis=1)
    there = support > 0
    return float((confusion.diagonal()[there] / support[there]).mean())


def macro_f1(confusion: NDArray[np.int64]) -> float:
    """Mean F1 of the classes that have rows."""
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    there = support > 0
    return float((2 * confusion.diagonal()[there] / (support + predicted)[there]).mean())


class Ranking:
    """One class's scores in descending order, for areas under curves.

    Args:
        score: (rows,); higher for rows that rather belong to the class.
        y: (rows,); the true classes.
        positive: The class.

    Attributes:
        thresholds: Descending. Up to THRESHOLDS rows, these are the scores that occur; of more,
            half of them are those of evenly spaced rows of the class, half of other rows, which
            moves areas by about 1e-6.
        step: (rows,), int32; the index of the threshold that each row belongs to.
    """

    def __init__(self, score: NDArray[np.float32], y: Indices, positive: int) -> None:
        self._y, self._positive = y, positive
        ascending = np.unique(score) if len(y) <= THRESHOLDS else self._some(score)
        self.thresholds, many = ascending[::-1], len(ascending)
        self.step = beside(y).array((len(y),), np.int32, "ranks of the test rows")
        self._found, self._false = np.zeros((2, many), np.int64)
        for some in blocks(len(y)):
            step, block = self.step[some], score[some]
            order = np.argsort(block)  # what is looked up in order is found twice as fast
            step[order] = many - np.searchsorted(ascending, block[order], "right")
            self._found += np.bincount(step[self.belongs(some)], minlength=many)
            self._false += np.bincount(step[~self.belongs(some)], minlength=many)

    def belongs(self, some: slice) -> NDArray[np.bool_]:
        """Whether rows are of the class."""
        return np.equal(self._y[some], self._positive)

    def _some(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """The thresholds of many rows, ascending."""
        found = [np.array([min(score[some].min() for some in blocks(len(score)))])]
        for side in (True, False):
            count = sum(int((self.belongs(some) == side).sum()) for some in blocks(len(score)))
            stride, seen = max(1, -(-2 * count // THRESHOLDS)), 0
            for some in blocks(len(score)):
                own = score[some][self.belongs(some) == side]
                found.append(own[-seen % stride :: stride].copy())
                seen += len(own)
        return np.unique(np.concatenate(found))

    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """True and false positives at each threshold, descending."""
        return np.cumsum(self._found, dtype=np.float64), np.cumsum(self._false, dtype=np.float64)

    def roc_auc(self) -> float | None:
        """The area under the ROC curve; None when one side has no rows."""
        true, false = self.counts()
        if not true[-1] or not false[-1]:
            return None
        steps = np.diff(false, prepend=0.0)
        before = np.concatenate([[0.0], true[:-1]])
        return float((steps * (true + before) / 2).sum() / (true[-1] * false[-1]))

    def average_precision(self) -> float | None:
        """Average precision; None when no row is positive."""
        true, false = self.counts()
        if not true[-1]:
            return None
        precision = true / (true + false)
        return float((np.diff(true, prepend=0.0) * precision).sum() / true[-1])


def rankings(probabilities: Probabilities, y: Indices) -> Iterator[Ranking]:
    """One ranking for two classes, of the rarer one, and one for each class of more."""
    count = probabilities.shape[1]
    rarer = int(2 * int((y == 1).sum()) <= len(y))
    for k in [rarer] if count == 2 else range(count):
        yield Ranking(probabilities[:, k], y, k)


def mean(values: list[float | None]) -> float | None:
    """The mean of those that are defined, or None."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _over_classes(
    area: Callable[[Ranking], float | None], probabilities: Probabilities, y: Indices
) -> float | None:
    return mean([area(ranking) for ranking in rankings(probabilities, y)])


def _brier(probabilities: Probabilities, y: Indices) -> float:
    def errors(some: slice) -> NDArray[np.float64]:
        said, true = probabilities[some].astype(np.float64), y[some]
        each: NDArray[np.float64] = (said**2).sum(axis=1) - 2 * said[np.arange(len(true)), true] + 1
        return each

    return average(errors, len(y))


def _matthews(confusion: NDArray[np.int64]) -> float:
    support, predicted = (confusion.sum(axis=axis).astype(float) for axis in (1, 0))
    rows = support.sum()
    covariance = confusion.trace() * rows - support @ predicted
    spread = (rows**2 - support @ support) * (rows**2 - predicted @ predicted)
    return float(covariance / np.sqrt(spread)) if spread else 0.0

"""A model's probabilities and the true classes → Metrics; every formula names its source."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.data.place import blocks, counts
from job.evaluation import scores as scored
from job.evaluation.scores import Scores
from job.evaluation.threshold import Threshold, decide

Z = 1.959963984540054
"""The standard normal's 97.5 % quantile."""

CALIBRATION_BINS = 15
"""Equal-width confidence bins, as in Guo et al. (2017), section 5."""


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class's scores, each 0 to 1; support is the number of test rows of the class."""

    label: int | str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """One bar of the reliability diagram; confidence and accuracy are means over the bin's rows."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Scores on the test set.

    Attributes:
        loss: Mean categorical cross-entropy, nats.
        accuracy: Share of rows whose predicted class is the true one.
        accuracy_interval: 95 % Wilson score interval of the accuracy.
        rows: Number of test rows.
        per_class: One entry for each class, in the data set's order.
        confusion_matrix: [true class][predicted class], row counts.
        calibration_error: Expected calibration error, 0 to 1.
        calibration: The non-empty confidence bins, ascending.
        scores: Every score that ranks versions.
        baseline: The same of a model that knows the classes' shares only.
        threshold: How a class was decided for; None for the most probable one.
    """

    loss: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    rows: int
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
    scores: Scores
    baseline: Scores
    threshold: Threshold | None = None


def evaluate(
    probabilities: NDArray[np.float32],
    y: NDArray[np.int32],
    classes: Classes,
    *,
    shares: NDArray[np.float64] | None = None,
    threshold: Threshold | None = None,
) -> Metrics:
    """Scores predictions against the truth.

    Args:
        probabilities: (rows, classes), float32; each row sums to 1.
        y: (rows,), int32; the true classes as indices.
        classes: The labels, in the order of the columns.
        shares: (classes,); each class's share of the training rows, for the baseline; by default
            its share of these rows.
        threshold: How a class is decided for; by default the most probable one.

    A class that is never predicted has precision 0, one without rows recall 0
    (scikit-learn's `zero_division=0`).

    Sources:
        precision, recall, F1: Van Rijsbergen, Information Retrieval (1979), chapter 7.
        interval: Wilson, JASA 22 (1927), "Probable inference, the law of succession, and
            statistical inference".
        calibration error: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural
            Networks", ICML 2017, equation 3.
    """
    predicted = decide(probabilities, classes, threshold)
    confusion = scored.confusion_matrix(y, predicted, len(classes))
    calibration_error, bins = _calibration(probabilities, y)
    if shares is None:
        shares = counts(y, len(classes)) / len(y)
    correct = int(confusion.trace())
    return Metrics(
        loss=scored.log_loss(probabilities, y),
        accuracy=correct / len(y),
        accuracy_interval=wilson_interval(correct, len(y)),
        rows=len(y),
        per_class=_per_class(confusion, classes),
        confusion_matrix=tuple(tuple(int(n) for n in row) for row in confusion),
        calibration_error=calibration_error,
        calibration=bins,
        scores=scored.scores(probabilities, y, predicted),
        baseline=scored.baseline(y, shares),
        threshold=threshold,
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion (Wilson 1927), as (low, high)."""
    share = successes / trials
    centre = share + Z**2 / (2 * trials)
    spread = Z * float(np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2)))
    scale = 1 + Z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _per_class(confusion: NDArray[np.int64], classes: Classes) -> tuple[ClassMetrics, ...]:
    hits = confusion.diagonal()
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    return tuple(
        ClassMetrics(
            label=label,
            precision=float(precision[i]),
            recall=float(recall[i]),
            f1=float(f1[i]),
            support=int(support[i]),
        )
        for i, label in enumerate(classes)
    )


def _calibration(
    probabilities: NDArray[np.float32], y: NDArray[np.int32]
) -> tuple[float, tuple[CalibrationBin, ...]]:
    """Expected calibration error and its bins (m-1, m] / M (Guo et al. 2017, equation 3)."""
    sums = np.zeros((CALIBRATION_BINS, 3))
    for some in blocks(len(y)):
        confidence = probabilities[some].max(axis=1)
        correct = probabilities[some].argmax(axis=1) == y[some]
        index = np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1
        index = np.clip(index, 0, CALIBRATION_BINS - 1)
        for i in np.unique(index):
            rows = index == i
            sums[i] += rows.sum(), confidence[rows].sum(dtype=np.float64), correct[rows].sum()
    bins = tuple(
        CalibrationBin(
            confidence=float(confidence / count), accuracy=float(hits / count), count=int(count)
        )
        for count, confidence, hits in sums
        if count
    )
    error = 0.0
    for bar in bins:
        error += bar.count / len(y) * abs(bar.accuracy - bar.confidence)
    return error, bins

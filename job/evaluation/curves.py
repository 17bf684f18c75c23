"""ROC, precision-recall and gain of a class, and what each threshold of one of two costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.config.training import parse_threshold
from job.data.place import counts
from job.evaluation.scores import Indices, Probabilities, Ranking, rankings
from job.evaluation.threshold import Threshold, positive_class

RECALLS = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""The shares of the class for which `levels` has a threshold."""

DEFAULT = 0.5
"""The threshold of a model that answers with the most probable class."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a threshold does on the test rows.

    Attributes:
        threshold: The lowest probability at which the class is the answer.
        found: Rows of the class that get it.
        alarms: Other rows that get it.
        missed: Rows of the class that do not get it.
        precision: Share of the answers that are right; 0 without any.
        recall: Share of the class that is found.
        f1: Their harmonic mean.
        cost: Expected cost of a row, in false alarms' units; None without `--threshold cost=`.
    """

    threshold: float
    found: int
    alarms: int
    missed: int
    precision: float
    recall: float
    f1: float
    cost: float | None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """How the answers for one class move with the threshold.

    Attributes:
        label: The class.
        other: The other class; None for all others.
        rows: Test rows.
        positives: Those of the class, at least 1 and fewer than all.
        thresholds: (n,); the probabilities that occur, descending.
        found: (n,); rows of the class at or above each.
        alarms: (n,); other rows at or above each.
        threshold: The model's own.
        costs: What a missed row and a false alarm cost; None without `--threshold cost=`.
    """

    label: int | str
    other: int | str | None
    rows: int
    positives: int
    thresholds: NDArray[np.float32]
    found: NDArray[np.float64]
    alarms: NDArray[np.float64]
    threshold: float
    costs: tuple[float, float] | None = None

    @property
    def recall(self) -> NDArray[np.float64]:
        """(n,); the share of the class that is found, which is the true positive rate."""
        return self.found / self.positives

    @property
    def precision(self) -> NDArray[np.float64]:
        """(n,); the share of the answers that are right."""
        return self.found / (self.found + self.alarms)

    @property
    def false_positive_rate(self) -> NDArray[np.float64]:
        """(n,); the share of the other class that is taken for this one."""
        return self.alarms / (self.rows - self.positives)

    @property
    def flagged(self) -> NDArray[np.float64]:
        """(n,); the share of all rows at or above each threshold."""
        return (self.found + self.alarms) / self.rows

    @property
    def average_precision(self) -> float:
        """The area under precision by recall; scores have that of the rarer class of the rows."""
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    @property
    def cost(self) -> NDArray[np.float64] | None:
        """(n,); the expected cost of a row; None without `--threshold cost=`."""
        if self.costs is None:
            return None
        missed, alarm = self.costs
        return (missed * (self.positives - self.found) + alarm * self.alarms) / self.rows

    def gain(self, share: float) -> float:
        """The share of the class among the rows that are likeliest to belong to it.

        Args:
            share: Of all rows, 0 to 1; what lies between two thresholds is interpolated.
        """
        return float(np.interp(share, np.append(0, self.flagged), np.append(0, self.recall)))

    def levels(self) -> tuple[Point, ...]:
        """The highest threshold for each of RECALLS, and the model's own, descending."""
        first = [int((self.recall >= recall).argmax()) for recall in RECALLS]
        values = {float(self.thresholds[i]) for i in first} | {self.threshold}
        return tuple(self.at(value) for value in sorted(values, reverse=True))

    def at(self, threshold: float) -> Point:
        """What a threshold does."""
        last = int((self.thresholds >= np.float32(threshold)).sum()) - 1
        found, alarms = (int(self.found[last]), int(self.alarms[last])) if last >= 0 else (0, 0)
        missed = self.positives - found
        return Point(
            threshold=threshold,
            found=found,
            alarms=alarms,
            missed=missed,
            precision=found / max(found + alarms, 1),
            recall=found / self.positives,
            f1=2 * found / (2 * found + alarms + missed),
            cost=self.costs and (self.costs[0] * missed + self.costs[1] * alarms) / self.rows,
        )


def curves(
    probabilities: Probabilities,
    y: Indices,
    classes: Sequence[int | str],
    shares: NDArray[np.float64],
    threshold: Threshold | None,
) -> Curves | None:
    """The curves of the class that a threshold is about.

    Args:
        probabilities: (rows, classes), float32.
        y: (rows,); the true classes.
        classes: The labels.
        shares: (classes,); each class's share of the training rows.
        threshold: How a class is decided for; None for the most probable one.

    Returns:
        None when there are not two classes, or the rows are all of one.

    Sources:
        ROC: Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006).
        gain: Berry, Linoff, Data Mining Techniques (2004), chapter 3.
    """
    rows = counts(y, len(classes))
    if len(rows) != 2 or not rows.all():
        return None
    positive = positive_class(shares)
    if threshold:
        positive = list(classes).index(threshold.label)
    kind, numbers = parse_threshold(threshold.rule) if threshold else ("", ())
    return _of(
        Ranking(probabilities[:, positive], y, positive),
        label=classes[positive],
        other=classes[1 - positive],
        threshold=threshold.value if threshold else DEFAULT,
        costs=(numbers[0], numbers[1]) if kind == "cost" else None,
    )


def hardest(
    probabilities: Probabilities, y: Indices, classes: Sequence[int | str], most: int
) -> tuple[tuple[float, Curves], ...]:
    """Of three classes or more, those with the lowest area under ROC, each against all others.

    Args:
        probabilities: (rows, classes), float32.
        y: (rows,); the true classes.
        classes: The labels.
        most: How many.

    Returns:
        Areas and curves, the lowest area first; without classes that have no test rows, or all.
    """
    if len(classes) <= 2:
        return ()
    found: list[tuple[float, Curves]] = []
    for label, ranking in zip(classes, rankings(probabilities, y), strict=True):
        area = ranking.roc_auc()
        if area is not None:
            found.append((area, _of(ranking, label=label, other=None, threshold=DEFAULT)))
            found = sorted(found, key=lambda each: each[0])[:most]
    return tuple(found)


def _of(
    ranking: Ranking,
    *,
    label: int | str,
    other: int | str | None,
    threshold: float,
    costs: tuple[float, float] | None = None,
) -> Curves:
    found, alarms = ranking.counts()
    return Curves(
        label=label,
        other=other,
        rows=int(found[-1] + alarms[-1]),
        positives=int(found[-1]),
        thresholds=ranking.thresholds,
        found=found,
        alarms=alarms,
        threshold=threshold,
        costs=costs,
    )

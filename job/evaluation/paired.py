"""How much better one model is than another on the same test rows: paired difference, interval."""

import collections
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from job.data.place import average, blocks, counts
from job.evaluation import scores
from job.evaluation.scores import Indices, Probabilities

REPLICATES = 1000
"""Replicates of the bootstrap."""

SEED = 0

RETRAINING = {
    "accuracy": 0.12,
    "balanced_accuracy": 0.2,
    "roc_auc": 0.2,
    "average_precision": 0.3,
    "log_loss": 0.12,
    "f1": 0.17,
}
"""Retrained models differ in truth, too, not only on the test rows: one standard deviation is about
this part of what `change` measures between them, as tests/bench/gate.py measures it."""

MOST_CHANGE = {
    "accuracy": 0.03,
    "balanced_accuracy": 0.06,
    "roc_auc": 0.03,
    "average_precision": 0.1,
    "log_loss": 0.06,
    "f1": 0.07,
}
"""Models that change by more differ for other reasons than retraining."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered on the test rows.

    Attributes:
        probabilities: (rows, classes), float32.
        predicted: (rows,); the classes that it decided for.
    """

    probabilities: Probabilities
    predicted: Indices

    def accuracy(self, y: Indices) -> float:
        """The share of the rows whose class it decided for."""
        return average(lambda some: self.predicted[some] == y[some], len(y))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better the first model is, in the metric's units; positive is better.

    Attributes:
        value: The observed difference.
        low: Lower end of its interval.
        high: Upper end of its interval.
        ours: The first model's score.
        theirs: The second one's.
    """

    value: float
    low: float
    high: float
    ours: float
    theirs: float

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2

    def widened(self, width: float) -> "Difference":
        """With another, independent source of doubt added to each half of the interval."""
        low = self.value - math.hypot(self.value - self.low, width)
        high = self.value + math.hypot(self.high - self.value, width)
        return replace(self, low=low, high=high)


def difference(metric: str, ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    """The paired difference of a metric, with a deterministic interval of z standard errors.

    Args:
        metric: See `job.config.gate.Metric`.
        ours: The answers of the first model.
        theirs: The answers of the second one.
        y: (rows,); the true classes.
        z: The normal quantile of each end.

    Accuracy has a score interval; ROC AUC of two classes DeLong's; balanced accuracy and F1 a
    paired bootstrap of the test rows, from a fixed seed; the other rankings the infinitesimal
    jackknife, which is what the bootstrap's standard error becomes with many rows and replicates.

    Sources:
        score interval: Tango, "Equivalence test and confidence interval for the difference in
            proportions for the paired-sample design", Statistics in Medicine 17 (1998), 891–908.
        ROC AUC: DeLong, DeLong, Clarke-Pearson, "Comparing the areas under two or more correlated
            receiver operating characteristic curves", Biometrics 44 (1988).
        bootstrap: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 8.
        infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and Other Resampling Plans
            (1982), chapter 6.
    """
    if metric == "accuracy":
        return _accuracy(ours, theirs, y, z)
    if metric == "log_loss":
        first, second = (scores.log_loss(each.probabilities, y) for each in (ours, theirs))
        [part], [other] = _parts(metric, ours, y), _parts(metric, theirs, y)
        error = math.sqrt(_variance(part, other, len(y)))
        # The bootstrap's standard error of a mean needs no replicates.
        return _normal(metric, first, second, error / len(y) ** 0.5, z)
    if metric == "roc_auc" and ours.probabilities.shape[1] == 2:
        return _delong(ours, theirs, y, z)
    if metric in ("balanced_accuracy", "f1"):
        return _of_decisions(metric, ours, theirs, y, z)
    return _of_rankings(metric, ours, theirs, y, z)


def discordant(ours: Answers, theirs: Answers, y: Indices) -> tuple[int, int]:
    """Rows that only the first names correctly, and rows that only the second does."""
    gained = lost = 0
    for some in blocks(len(y)):
        first, second = ours.predicted[some] == y[some], theirs.predicted[some] == y[some]
        gained += int((first & ~second).sum())
        lost += int((second & ~first).sum())
    return gained, lost


def retraining(metric: str, ours: Answers, theirs: Answers, y: Indices) -> float:
    """The standard deviation of such models' true difference, in the metric's units."""
    return RETRAINING[metric] * min(change(metric, ours, theirs, y), MOST_CHANGE[metric])


def change(metric: str, ours: Answers, theirs: Answers, y: Indices) -> float:
    """How much the part that a row has in a metric changes from one model to the other, mean.

    The units are the metric's. It is zero for equal answers only, and does not know which model is
    better.

    Args:
        metric: See `job.config.gate.Metric`.
        ours: The answers of the first model.
        theirs: The answers of the second one.
        y: (rows,); the true classes.
    """
    if metric == "f1":
        classes = ours.probabilities.shape[1]
        moved = scores.confusion_matrix(ours.predicted, theirs.predicted, classes)
        each = moved.sum(axis=0) + moved.sum(axis=1)  # rows that either puts into a class
        support = counts(y, classes)
        there = support > 0
        changed = each - 2 * moved.diagonal()
        return float((changed[there] / (support + each / 2)[there]).mean())

    def changed_by(first: Part, second: Part) -> float:
        return average(lambda some: np.abs(first(some) - second(some)), len(y))

    both = zip(_parts(metric, ours, y), _parts(metric, theirs, y), strict=True)
    changes = [changed_by(*parts) for parts in both]
    return sum(changes) / len(changes) if changes else 0.0


Part = Callable[[slice], NDArray[np.float64]]
"""Gives a value for each of those of some rows that count."""


def _parts(metric: str, answers: Answers, y: Indices) -> Iterator[Part]:
    """Values of the rows whose means' mean is the metric, but for a sign."""

    def right(some: slice) -> NDArray[np.float64]:
        return np.equal(answers.predicted[some], y[some]).astype(np.float64)

    def of_class(label: np.intp, some: slice) -> NDArray[np.float64]:
        hits: NDArray[np.float64] = right(some)[y[some] == label]
        return hits

    if metric == "accuracy":
        yield right
    elif metric == "balanced_accuracy":
        for k in np.flatnonzero(counts(y, answers.probabilities.shape[1])):
            yield partial(of_class, k)
    elif metric == "log_loss":
        yield lambda some: scores.losses(answers.probabilities[some], y[some])
    else:
        for ranking in scores.rankings(answers.probabilities, y):
            true, false = ranking.counts()
            if not true[-1] or not false[-1]:
                continue
            if metric == "average_precision":
                yield _ranked(ranking, true / (true + false))
            else:  # the share of negatives below each positive, of positives above each negative
                below, above = _placements(true, false)
                yield _ranked(ranking, below)
                yield _ranked(ranking, above, others=True)


def _ranked(ranking: scores.Ranking, each: NDArray[np.float64], *, others: bool = False) -> Part:
    """What a step of a ranking gives the rows of its class, or the others."""
    return lambda some: each[ranking.step[some][ranking.belongs(some) != others]]


def _variance(first: Part, second: Part, rows: int) -> float:
    """The variance of the difference of two values of each row, without a correction."""
    mean = average(lambda some: first(some) - second(some), rows)
    return average(lambda some: np.square(first(some) - second(some) - mean), rows)


def score_bound(gained: int, lost: int, rows: int, z: float) -> float:
    """The lower end of Tango's score interval of a paired difference of two proportions.

    It is the smallest difference that a score test does not reject, and stays sensible when few
    rows, or none, distinguish the two.

    Args:
        gained: Pairs with a success in the first only.
        lost: Pairs with a success in the second only.
        rows: All pairs, at least 1.
        z: The normal quantile.
    """
    low, high = -1.0, (gained - lost) / rows
    while high - low > 1e-9:  # the statistic falls as the difference rises
        middle = (low + high) / 2
        if _score(gained, lost, rows, middle) > z:
            low = middle
        else:
            high = middle
    return low


def rank_evidence(probabilities: Probabilities, y: Indices) -> float:
    """How far the ROC AUC is above chance, in standard errors under chance.

    Over several classes the errors are taken as fully correlated, which errs on the side of doubt.

    Source: Mann, Whitney, Annals of Mathematical Statistics 18 (1947).
    """
    above, errors, rows = [], [], len(y)
    for ranking in scores.rankings(probabilities, y):
        area, positive = ranking.roc_auc(), float(ranking.counts()[0][-1])
        if area is not None:
            above.append(area - 0.5)
            errors.append(math.sqrt((rows + 1) / (12 * positive * (rows - positive))))
    return sum(above) / sum(errors) if errors else 0.0


def _accuracy(ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    gained, lost = discordant(ours, theirs, y)
    rows = len(y)
    return Difference(
        value=(gained - lost) / rows,
        low=score_bound(gained, lost, rows, z),
        high=-score_bound(lost, gained, rows, z),
        ours=ours.accuracy(y),
        theirs=theirs.accuracy(y),
    )


def _score(gained: int, lost: int, rows: int, difference: float) -> float:
    """How far the observed difference is above an assumed one, in standard errors."""
    a = 2 * rows
    b = (2 * rows - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # the constrained estimate
    variance = rows * max(2 * share_lost + difference * (1 - difference), 0.0)
    distance = gained - lost - rows * difference
    return distance / math.sqrt(variance) if variance else math.copysign(math.inf, distance)


def _normal(metric: str, ours: float, theirs: float, error: float, z: float) -> Difference:
    value = scores.better_by(metric, ours, theirs)
    return Difference(
        value=value, low=value - z * error, high=value + z * error, ours=ours, theirs=theirs
    )


def _delong(ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    first, second = (list(_parts("roc_auc", each, y)) for each in (ours, theirs))
    if not first:
        return _normal("roc_auc", 0.5, 0.5, 0.5, z)  # one class only: the rows show nothing
    # The rarer class is ranked, so the first part has its rows, and the second those of the other.
    variance = sum(
        _variance(a, b, len(y)) / (count - 1) if count > 1 else 0.25
        for a, b, count in zip(first, second, np.sort(counts(y, 2)).tolist(), strict=True)
    )
    areas = average(first[0], len(y)), average(second[0], len(y))
    return _normal("roc_auc", *areas, math.sqrt(variance), z)


def _of_decisions(metric: str, ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    """By bootstrap over the cells (true class, our class, their class), of which there are few."""
    count = ours.probabilities.shape[1]
    classes, found = np.arange(count), collections.Counter[int]()
    for some in blocks(len(y)):
        cell = (y[some].astype(np.int64) * count + ours.predicted[some]) * count
        here, rows = np.unique(cell + theirs.predicted[some], return_counts=True)
        found.update(dict(zip(here.tolist(), rows.tolist(), strict=True)))
    cells = np.unravel_index(np.array(sorted(found)), (count,) * 3)
    counted = np.array([found[cell] for cell in sorted(found)])
    random = np.random.default_rng(SEED)
    drawn = np.vstack([counted, random.multinomial(len(y), counted / len(y), REPLICATES)])
    true = cells[0][:, None] == classes
    support = drawn @ true

    def score(answered: NDArray[np.int64]) -> NDArray[np.float64]:
        """(1 + replicates,): the score of each draw; the first one is the observed."""
        said = answered[:, None] == classes
        hits = drawn @ (true & said)
        sizes = support if metric == "balanced_accuracy" else (support + drawn @ said) / 2
        there = support > 0
        each: NDArray[np.float64] = (hits / np.maximum(sizes, 0.5) * there).sum(axis=1)
        means: NDArray[np.float64] = each / there.sum(axis=1)
        return means

    first, second = score(cells[1]), score(cells[2])
    error = float(np.std((first - second)[1:], ddof=1))
    return _normal(metric, float(first[0]), float(second[0]), error, z)


def _of_rankings(metric: str, ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    """By the infinitesimal jackknife: how much each row's weight moves the difference."""
    first, second = (_influence(metric, each, y) for each in (ours, theirs))
    if first is None or second is None:
        return _normal(metric, 0.5, 0.5, 0.5, z)  # one class only: the rows show nothing
    moves, others = first[1], second[1]
    squares = average(lambda some: np.square(moves(some) - others(some)), len(y))
    error = math.sqrt(squares * len(y))
    return _normal(metric, first[0], second[0], error, z)


def _influence(metric: str, answers: Answers, y: Indices) -> tuple[float, Part] | None:
    """The mean area over the classes, and its derivative by each row's weight."""
    areas: list[float] = []
    derivatives: list[Part] = []

    def derivative(some: slice) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.mean([each(some) for each in derivatives], axis=0)
        return mean

    for ranking in scores.rankings(answers.probabilities, y):
        true, false = ranking.counts()
        if not true[-1] or not false[-1]:
            continue
        if metric == "roc_auc":
            areas.append(ranking.roc_auc() or 0.0)
            below, above = _placements(true, false)
            own, other = (below - areas[-1]) / true[-1], (above - areas[-1]) / false[-1]
        else:
            areas.append(ranking.average_precision() or 0.0)
            every = true + false
            steps = np.diff(true, prepend=0.0) / every**2
            later = [np.cumsum((steps * part)[::-1])[::-1] for part in (false, true)]
            own = (true / every - areas[-1] + later[0]) / true[-1]
            other = -later[1] / true[-1]
        derivatives.append(partial(_either, ranking, own, other))
    return (float(np.mean(areas)), derivative) if areas else None


def _either(
    ranking: scores.Ranking, own: NDArray[np.float64], other: NDArray[np.float64], some: slice
) -> NDArray[np.float64]:
    """What a step of a ranking gives the rows of its class, and the others."""
    step = ranking.step[some]
    either: NDArray[np.float64] = np.where(ranking.belongs(some), own[step], other[step])
    return either


def _placements(
    true: NDArray[np.float64], false: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At each step of a ranking, the share of negatives below it and of positives above it.

    Those of the step itself count half.
    """
    below = 1 - (np.append(0.0, false[:-1]) + false) / (2 * false[-1])
    above = (np.append(0.0, true[:-1]) + true) / (2 * true[-1])
    return below, above

"""How much better one model is than another on the same test rows: paired difference, interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from job.evaluation import scores
from job.evaluation.scores import Indices, Probabilities

REPLICATES = 1000
"""Replicates of the bootstrap; fewer for many rows, see BOOTSTRAP_ROWS."""

BOOTSTRAP_ROWS = 100_000_000
"""Most rows that the replicates read together, which is about a second."""

FEWEST_REPLICATES = 100

SEED = 0

RETRAINING = 0.12
"""Retrained models differ in truth, too, not only on the test rows: by about this part of the share
of rows on which they differ, one standard deviation; measured with tests/bench/gate.py."""

MOST_CHANGE = 0.03
"""Models that differ on more rows than this differ for other reasons than retraining."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered on the test rows.

    Attributes:
        probabilities: (rows, classes), float32.
        predicted: (rows,); the classes that it decided for.
    """

    probabilities: Probabilities
    predicted: Indices


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
        metric: See `job.evaluation.scores.Metric`.
        ours: The answers of the first model.
        theirs: The answers of the second one.
        y: (rows,); the true classes.
        z: The normal quantile of each end.

    Accuracy has a score interval; ROC AUC of two classes DeLong's; the rest a bootstrap of the
    test rows with normal ends, from a fixed seed.

    Sources:
        score interval: Tango, "Equivalence test and confidence interval for the difference in
            proportions for the paired-sample design", Statistics in Medicine 17 (1998), 891–908.
        ROC AUC: DeLong, DeLong, Clarke-Pearson, "Comparing the areas under two or more correlated
            receiver operating characteristic curves", Biometrics 44 (1988); midranks as in Sun,
            Xu, IEEE Signal Processing Letters 21 (2014).
        bootstrap: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    if metric == "accuracy":
        return _accuracy(ours, theirs, y, z)
    if metric == "log_loss":
        each = [scores.losses(a.probabilities, y) for a in (ours, theirs)]
        first, second = float(each[0].mean()), float(each[1].mean())
        # The bootstrap's standard error of a mean needs no replicates.
        return _normal(metric, first, second, float((each[1] - each[0]).std()) / len(y) ** 0.5, z)
    if metric == "roc_auc" and ours.probabilities.shape[1] == 2:
        return _delong(ours, theirs, y, z)
    if metric in ("balanced_accuracy", "f1"):
        return _of_decisions(metric, ours, theirs, y, z)
    return _of_rankings(metric, ours, theirs, y, z)


def discordant(ours: Answers, theirs: Answers, y: Indices) -> tuple[int, int]:
    """Rows that only the first names correctly, and rows that only the second does."""
    first, second = ours.predicted == y, theirs.predicted == y
    return int((first & ~second).sum()), int((second & ~first).sum())


def retraining(metric: str, ours: Answers, theirs: Answers, y: Indices) -> float:
    """By how much two such models differ in truth, one standard deviation, in the metric's units.

    It follows from how much an answer changes in the mean.
    """
    if metric == "log_loss":
        first, second = (scores.losses(each.probabilities, y) for each in (ours, theirs))
        return RETRAINING * float(np.abs(first - second).mean())
    return RETRAINING * min(sum(discordant(ours, theirs, y)) / len(y), MOST_CHANGE)


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
    above, errors = [], []
    for ranking in scores.rankings(probabilities, y):
        area, positive = ranking.roc_auc(), float(ranking.positive.sum())
        if area is not None:
            rows = len(ranking.positive)
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
        ours=float((ours.predicted == y).mean()),
        theirs=float((theirs.predicted == y).mean()),
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
    positive = y == 1
    count = np.array([positive.sum(), (~positive).sum()])
    if not count.all():
        return _normal("roc_auc", 0.5, 0.5, 0.5, z)  # one class only: the rows show nothing
    areas, found, passed = [], [], []
    for answers in (ours, theirs):
        score = answers.probabilities[:, 1]
        both = _midranks(score)
        # Share of negatives below each positive, and of positives above each negative.
        found.append((both[positive] - _midranks(score[positive])) / count[1])
        passed.append(1 - (both[~positive] - _midranks(score[~positive])) / count[0])
        areas.append(float(found[-1].mean()))
    variance = sum(
        float(np.var(parts[0] - parts[1], ddof=1)) / len(parts[0]) if len(parts[0]) > 1 else 0.25
        for parts in (found, passed)
    )
    return _normal("roc_auc", areas[0], areas[1], math.sqrt(variance), z)


def _midranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _of_decisions(metric: str, ours: Answers, theirs: Answers, y: Indices, z: float) -> Difference:
    """By bootstrap over the cells (true class, our class, their class), of which there are few."""
    classes = np.arange(ours.probabilities.shape[1])
    cells, counts = np.unique(
        np.stack([y, ours.predicted, theirs.predicted]), axis=1, return_counts=True
    )
    random = np.random.default_rng(SEED)
    drawn = np.vstack([counts, random.multinomial(len(y), counts / len(y), REPLICATES)])
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
    """By bootstrap over the rows, which are sorted once."""
    each = [scores.rankings(answers.probabilities, y) for answers in (ours, theirs)]
    area = scores.Ranking.roc_auc if metric == "roc_auc" else scores.Ranking.average_precision

    def both(weights: NDArray[np.float64] | None) -> tuple[float, float] | None:
        first, second = (scores.mean([area(r, weights) for r in rankings]) for rankings in each)
        return None if first is None or second is None else (first, second)

    observed = both(None)
    if observed is None:
        return _normal(metric, 0.5, 0.5, 0.5, z)  # one class only: the rows show nothing
    rows, random = len(y), np.random.default_rng(SEED)
    replicates = BOOTSTRAP_ROWS // (2 * rows * len(each[0]))

    def replicate(_: int) -> tuple[float, float] | None:
        drawn = np.bincount(random.integers(0, rows, rows), minlength=rows)
        return both(drawn.astype(np.float64))

    count = min(max(replicates, FEWEST_REPLICATES), REPLICATES)
    return _normal(metric, *observed, _spread(metric, replicate, count), z)


def _spread(
    metric: str, replicate: Callable[[int], tuple[float, float] | None], count: int
) -> float:
    """The standard deviation of the replicates' differences."""
    both = [pair for pair in map(replicate, range(count)) if pair is not None]
    return float(np.std([scores.better_by(metric, *pair) for pair in both], ddof=1))

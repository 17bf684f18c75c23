"""Simulates nights at the gate with real learners: `python -m tests.bench.gate [--quick]`.

A world of binary rows with noise has a learner (random ReLU features, logistic regression on top:
an MLP whose first layer is not trained) that is trained again and again, with another seed or on
5 % more rows, as a nightly job does. Each trial draws test rows and models of its own, so that
equal models differ as retrained ones do. The gate is the product's. Everything is deterministic.

What is simulated, each against the champion and the best of the versions that reigned before:

    equal      20 ordinary nights in a row; promoted nights of all, by default and with
               --when-unsure keep
    shuffled   one night with 30 % of its training labels shuffled, after 10 ordinary ones, with
               clean test rows, and with 30 % of their labels shuffled, too
    decline    60 nights, each a tenth of a point of accuracy below the one before; points lost at
               the first night that is not promoted, and by the last champion that gets through
               later by luck: median, 95 of 100 runs, worst run
    gain       one night that is better by twice the resolution, after 10 ordinary ones
"""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.evaluation import scores
from job.evaluation.paired import Answers
from job.gate.decision import Rival, decide
from job.gate.rules import Rules, shuffled

COLUMNS = 10
RESERVOIR = 30_000
POOLS = 4
SEEDS = {300: 0.3, 1_300: 0.1, 10_000: 0.06}
"""How much a seed changes the first layer, so that retrained models disagree on as many rows as
the job's own do on public tables: 9 to 10 % at 200 and 300 test rows (credit, wine quality), 2.5 %
at 1,400 (telco, bank), 1 to 2 % above (hr)."""

MODELS = 24
TRAINING_ROWS = {300: 1_200, 1_300: 5_200, 10_000: 20_000}


@dataclass(frozen=True)
class Model:
    """A trained model: its probabilities of class 1 on the reservoir, and its training ROC AUC."""

    score: NDArray[np.float32]
    training_auc: float


@dataclass(frozen=True)
class Pool:
    """Equal models, and models that saw shuffled labels, of one training set."""

    y: NDArray[np.int32]
    equal: Sequence[Model]
    shuffled: Sequence[Model]


class World:
    """Rows with a label that depends on them in a curved and noisy way."""

    def __init__(self, rare: bool) -> None:
        random = np.random.default_rng(7)
        self.weights = random.normal(size=(COLUMNS, 3))
        self.shift = -8.0 if rare else -3.0

    def rows(self, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        random = np.random.default_rng(seed)
        x = random.normal(size=(count, COLUMNS))
        parts = x @ self.weights
        logit = self.shift + 1.4 * parts[:, 0] + 1.1 * np.abs(parts[:, 1]) - 0.7 * parts[:, 2]
        y = random.random(count) < 1 / (1 + np.exp(-logit))
        return x.astype(np.float32), y.astype(np.int32)


class Learner:
    """Logistic regression on random ReLU features, by Newton's method."""

    def __init__(
        self, x: NDArray[np.float32], y: NDArray[np.int32], seed: int, change: float
    ) -> None:
        common, own = np.random.default_rng(3), np.random.default_rng(seed)
        layer = common.normal(size=(COLUMNS + 1, 48)) + change * own.normal(size=(COLUMNS + 1, 48))
        self.layer = layer.astype(np.float32)
        features = self._features(x)
        self.head = np.zeros(features.shape[1])
        penalty = np.eye(len(self.head))
        for _ in range(6):
            said = 1 / (1 + np.exp(-np.clip(features @ self.head, -30, 30)))
            slope = features.T @ (y - said) - self.head
            curve = (features * (said * (1 - said))[:, None].astype(np.float32)).T @ features
            self.head = self.head + np.linalg.solve(curve + penalty, slope)

    def _features(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        ones = np.ones((len(x), 1), np.float32)
        hidden = np.maximum(np.hstack([x, ones]) @ self.layer, 0) / 4
        return np.hstack([hidden, x, ones])

    def score(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return (1 / (1 + np.exp(-self._features(x) @ self.head))).astype(np.float32)


def two(score: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([1 - score, score], axis=1)


@functools.cache
def pool(test_rows: int, number: int, rare: bool, models: int) -> Pool:
    world, rows = World(rare), TRAINING_ROWS[test_rows]
    x, y = world.rows(round(rows * 1.05), 100 + number)
    reservoir, truth = world.rows(RESERVOIR, 1)

    def model(seed: int, share: float) -> Model:
        random = np.random.default_rng([test_rows, number, seed])
        count = rows if seed % 2 else len(x)  # another seed, or 5 % more rows
        labels = y[:count].copy()
        wrong = random.random(count) < share
        labels[wrong] = random.permutation(labels[wrong])
        learner = Learner(x[:count], labels, seed, SEEDS[test_rows])
        area = scores.scores(two(learner.score(x[:count])), labels, labels).roc_auc
        return Model(score=learner.score(reservoir), training_auc=float(area or 0.5))

    return Pool(
        y=truth,
        equal=[model(seed, 0.0) for seed in range(models)],
        shuffled=[model(1000 + seed, 0.3) for seed in range(models)],
    )


class Nights:
    """One model's nights on test rows of its own."""

    def __init__(self, test_rows: int, trial: int, rules: Rules, rare: bool, models: int) -> None:
        self.random = np.random.default_rng([test_rows, trial])
        self.pool = pool(test_rows, trial % POOLS, rare, models)
        self.rows = self.random.choice(RESERVOIR, test_rows, replace=False)
        self.y = self.pool.y[self.rows]
        self.rules = rules
        self.reigned: list[tuple[float, Answers, Model]] = []  # recorded score, answers
        self.trail: list[float] = []

    def any(self, models: Sequence[Model]) -> Model:
        return models[self.random.integers(len(models))]

    def answers(self, model: Model, *, flip: NDArray[np.bool_] | None = None) -> Answers:
        score = model.score[self.rows]
        if flip is not None:
            score = np.where(flip, 1 - score, score)
        return Answers(probabilities=two(score), predicted=(score > 0.5).astype(np.int64))

    def night(self, model: Model, answers: Answers) -> tuple[bool, float]:
        """Whether it was promoted, and the resolution of the comparison with the champion."""
        y = self.y
        rivals, findings = [], []
        if self.reigned:
            champion = len(self.reigned) - 1
            rivals.append(Rival(version=champion + 1, role="champion", answers=self.reigned[-1][1]))
            findings = shuffled(model.training_auc, self.reigned[-1][2].training_auc)
            best = max(range(champion + 1), key=lambda i: (self.reigned[i][0], i))
            if best != champion:
                each = Rival(version=best + 1, role="best", answers=self.reigned[best][1])
                rivals.append(each)
        verdict = decide(
            answers=answers,
            y=y,
            recalls={},
            rivals=rivals,
            reigns=len(self.reigned),
            trail=self.trail,
            findings=findings,
            rules=self.rules,
        )
        if verdict.promote:
            metric = self.rules.metric
            value = getattr(scores.scores(answers.probabilities, y, answers.predicted), metric)
            recorded = scores.better_by(metric, value, 0.0)
            self.reigned.append((recorded, answers, model))
            step = verdict.comparisons[0].difference if verdict.comparisons else 0.0
            self.trail.append((self.trail or [0.0])[-1] + step)
        first = verdict.comparisons[0].resolution if verdict.comparisons else None
        return verdict.promote, first or 0.0

    def ordinary(self, count: int) -> list[tuple[bool, float]]:
        """Some ordinary nights, the first of which needs no gate."""
        passed = []
        for _ in range(count + 1):
            model = self.any(self.pool.equal)
            passed.append(self.night(model, self.answers(model)))
        return passed[1:]


def equal(test_rows: int, rules: Rules, trials: int, rare: bool, models: int) -> float:
    passed = [
        promoted
        for trial in range(trials)
        for promoted, _ in Nights(test_rows, trial, rules, rare, models).ordinary(20)
    ]
    return float(np.mean(passed))


def spoiled(
    test_rows: int, rules: Rules, trials: int, rare: bool, models: int, tests_too: bool
) -> int:
    count = 0
    for trial in range(trials):
        nights = Nights(test_rows, trial, rules, rare, models)
        nights.ordinary(10)
        if tests_too:
            wrong = nights.random.random(test_rows) < 0.3
            nights.y = nights.y.copy()
            nights.y[wrong] = nights.random.permutation(nights.y[wrong])
        model = nights.any(nights.pool.shuffled)
        count += nights.night(model, nights.answers(model))[0]
    return count


def decline(test_rows: int, rules: Rules, trials: int, models: int) -> NDArray[np.float64]:
    """(runs, 2), points: what was lost at the first night not promoted, and what in the end."""
    lost = []
    for trial in range(trials):
        nights = Nights(test_rows, trial, rules, rare=False, models=models)
        nights.ordinary(1)
        y, worst, stopped = nights.pool.y, 0.0, 0.0
        for night in range(1, 61):
            model = nights.any(nights.pool.equal)
            accuracy = ((model.score > 0.5) == y).mean()
            flip = nights.random.random(test_rows) < 0.001 * night / (2 * accuracy - 1)
            if nights.night(model, nights.answers(model, flip=flip))[0]:
                worst = 0.1 * night
            else:
                stopped = stopped or 0.1 * night
        lost.append((stopped, worst))
    return np.array(lost)


def gain(test_rows: int, rules: Rules, trials: int, models: int) -> tuple[float, float]:
    resolution = np.median(
        [r for t in range(5) for _, r in Nights(test_rows, t, rules, False, models).ordinary(5)]
    )
    passed = []
    for trial in range(trials):
        nights = Nights(test_rows, trial, rules, rare=False, models=models)
        nights.ordinary(10)
        model = nights.any(nights.pool.equal)
        right = nights.answers(model).predicted == nights.y
        flip = ~right & (nights.random.random(test_rows) < 2 * resolution / (~right).mean())
        passed.append(nights.night(model, nights.answers(model, flip=flip))[0])
    return float(resolution), float(np.mean(passed))


def shown(points: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.1f}" for value in np.percentile(points, [50, 95, 100]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    parser.add_argument("--rows", type=int, help="only for so many test rows")
    options = parser.parse_args()
    share = 10 if options.quick else 1
    models = MODELS // (2 if share > 1 else 1)
    print(
        "| test rows | equal | equal, keep | shuffled, of 1,000 | and test labels, too |"
        " decline: stopped at | lost in the end | resolution | gain of twice that | gain, keep |"
    )
    print("|" + "---|" * 10)
    promote, keep = Rules(), Rules(when_unsure="keep")
    for rows in [options.rows] if options.rows else TRAINING_ROWS:
        nights, trials = 50 // share, 1000 // share
        falls = decline(rows, promote, nights, models)
        resolution, passed = gain(rows, promote, nights, models)
        print(
            f"| {rows:,} | {equal(rows, promote, nights, False, models):.1%} "
            f"| {equal(rows, keep, nights, False, models):.1%} "
            f"| {spoiled(rows, promote, trials, False, models, tests_too=False)} "
            f"| {spoiled(rows, promote, trials, False, models, tests_too=True)} "
            f"| {shown(falls[:, 0])} | {shown(falls[:, 1])} | {100 * resolution:.2f} points "
            f"| {passed:.0%} | {gain(rows, keep, nights, models)[1]:.0%} |",
            flush=True,
        )
    if options.rows:
        return
    print("\n| metric, 9 % positive, 1,300 test rows | equal | equal, keep | shuffled, of 1,000 |")
    print("|---|---|---|---|")
    for metric in ("balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1"):
        promote, keep = Rules(metric=metric), Rules(metric=metric, when_unsure="keep")
        nights = 20 // (4 if share > 1 else 1)
        print(
            f"| {scores.TITLES[metric]} | {equal(1_300, promote, nights, True, models):.1%} "
            f"| {equal(1_300, keep, nights, True, models):.1%} "
            f"| {spoiled(1_300, promote, 100 // share, True, models, tests_too=False)} of "
            f"{100 // share} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

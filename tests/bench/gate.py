"""Simulates nights at the gate with real learners: `python -m tests.bench.gate [--help]`.

A world of binary rows with noise has a learner (random ReLU features, logistic regression on top:
an MLP whose first layer is not trained) that is trained again and again, with another seed or on
5 % more rows, as a nightly job does. Each store draws test rows and models of its own, so that
equal models differ as retrained ones do. The gate is the product's. Everything is deterministic.
`accuracy` is simulated with 44 % positive rows, the other metrics with 9 %; `--even` simulates all
with 44 %.

What is simulated, each against the champion and the best of the versions that reigned before:

    equal      20 ordinary nights in a row; promoted nights of all, by default and with
               --when-unsure keep
    moving     the same with other test rows each night
    shuffled   nights with 30 % of their training labels shuffled, after 20 ordinary ones, with
               clean test rows, and with 30 % of their labels shuffled, too
    decline    60 nights, each a tenth of a point (a thousandth) of the metric below the one
               before, since a share of the rows gets the scores of others; points lost at the
               first night that is not promoted, and by the last champion that gets through later
               by luck: median, 95 of 100 runs, worst run
    gain       nights that are better by twice the resolution, since a share of the rows is
               answered rightly, after 20 ordinary ones

`--limit` prints instead how much scores of retrained models differ on the same test rows, and what
a decline costs until the best test of a trend that there is, which knows this deviation, stops it.

`--measure` prints instead by how much retrained models differ in truth, as a part of what
`job.evaluation.paired.change` measures between them: `job.evaluation.paired.RETRAINING`.
"""

import argparse
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from job.config.gate import Metric
from job.evaluation import paired, scores
from job.evaluation.paired import Answers
from job.gate.decision import TREND, Rival, decide
from job.gate.rules import Rules, shuffled
from job.registry.verdict import Role

COLUMNS = 10
RESERVOIR = 30_000
POOLS = 3
SEEDS = {300: 0.3, 1_300: 0.1, 10_000: 0.06}
"""How much a seed changes the first layer, so that retrained models disagree on as many rows as
the job's own do on public tables: 9 to 10 % at 200 and 300 test rows (credit, wine quality), 2.5 %
at 1,400 (telco, bank), 1 to 2 % above (hr)."""

MODELS = 16
TRAINING_ROWS = {300: 1_200, 1_300: 5_200, 10_000: 20_000}
ORDINARY, SPOILED, GAINS, DECLINE = 20, 50, 4, 60
"""Nights of each kind in one store."""

METRICS: tuple[Metric, ...] = (
    "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1",
)  # fmt: skip


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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated: a metric, a number of test rows, and the seed of everything."""

    metric: Metric
    test_rows: int
    seed: int
    even: bool = False

    def pool(self, number: int) -> Pool:
        rare = self.metric != "accuracy" and not self.even
        return pool(self.test_rows, number, rare, self.seed)


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


def answers_of(score: NDArray[np.float32]) -> Answers:
    return Answers(probabilities=two(score), predicted=(score > 0.5).astype(np.int64))


def value(metric: str, answers: Answers, y: NDArray[np.int32]) -> float:
    """The score on some rows; higher is better."""
    if metric == "accuracy":
        return float((answers.predicted == y).mean())
    if metric == "log_loss":
        return -float(scores.losses(answers.probabilities, y).mean())
    if metric in ("balanced_accuracy", "f1"):
        table = scores.confusion_matrix(y, answers.predicted, 2)
        return scores.macro_f1(table) if metric == "f1" else scores.balanced_accuracy(table)
    area = getattr(scores.Ranking, metric)
    return scores.mean(list(map(area, scores.rankings(answers.probabilities, y)))) or 0.0


@functools.cache
def pool(test_rows: int, number: int, rare: bool, seed: int) -> Pool:
    world, rows = World(rare), TRAINING_ROWS[test_rows]
    x, y = world.rows(round(rows * 1.05), 1000 * seed + 100 + number)
    reservoir, truth = world.rows(RESERVOIR, 1000 * seed + 1)

    def model(own: int, share: float) -> Model:
        random = np.random.default_rng([test_rows, number, own, seed])
        count = rows if own % 2 else len(x)  # another seed, or 5 % more rows
        labels = y[:count].copy()
        wrong = random.random(count) < share
        labels[wrong] = random.permutation(labels[wrong])
        learner = Learner(x[:count], labels, 5000 * seed + own, SEEDS[test_rows])
        area = scores.scores(two(learner.score(x[:count])), labels, labels).roc_auc
        return Model(score=learner.score(reservoir), training_auc=float(area or 0.5))

    return Pool(
        y=truth,
        equal=[model(each, 0.0) for each in range(MODELS)],
        shuffled=[model(1000 + each, 0.3) for each in range(MODELS)],
    )


def mixed_up(score: NDArray[np.float32], share: float, seed: int) -> NDArray[np.float32]:
    """Scores of which a share belongs to other rows; a larger share holds a smaller one's rows."""
    random = np.random.default_rng(seed)
    rows = np.flatnonzero(random.random(len(score)) < share)
    found = score.copy()
    found[rows] = score[random.permutation(rows)]
    return found


def put_right(
    score: NDArray[np.float32], y: NDArray[np.int32], share: float, seed: int
) -> NDArray[np.float32]:
    """Scores of which a share is on the right side of a half."""
    rows = np.random.default_rng(seed).random(len(score)) < share
    right = np.where(y == 1, np.maximum(score, 1 - score), np.minimum(score, 1 - score))
    return np.where(rows, right, score).astype(np.float32)


@functools.cache
def shares(setting: Setting, gain: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much of the metric is won or lost by which share of the rows, on the reservoir."""
    kept = setting.pool(0)
    grid = np.linspace(0, 1 if gain else 0.3, 13)
    changed = [
        np.mean(
            [
                value(
                    setting.metric,
                    answers_of(
                        put_right(model.score, kept.y, share, i)
                        if gain
                        else mixed_up(model.score, share, i)
                    ),
                    kept.y,
                )
                for i, model in enumerate(kept.equal[:4])
            ]
        )
        for share in grid
    ]
    return np.abs(np.array(changed) - changed[0]), grid


@dataclass
class Store:
    """One model's nights on test rows of its own."""

    setting: Setting
    trial: int
    rules: Rules
    reigned: list[tuple[float, NDArray[np.float32], Model]] = field(default_factory=list)
    trail: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        setting = self.setting
        self.random = np.random.default_rng([setting.test_rows, self.trial, setting.seed])
        self.pool = setting.pool(self.trial % POOLS)
        self.draw()

    def draw(self) -> None:
        self.rows = self.random.choice(RESERVOIR, self.setting.test_rows, replace=False)
        self.y = self.pool.y[self.rows]

    def any(self, models: Sequence[Model]) -> Model:
        return models[self.random.integers(len(models))]

    def night(
        self, model: Model, score: NDArray[np.float32] | None = None, *, keep: bool = True
    ) -> tuple[bool, float]:
        """Whether a model is promoted, and the resolution of its comparison with the champion."""
        score = model.score if score is None else score
        rivals: list[Rival] = []
        if self.reigned:
            last = len(self.reigned) - 1
            if shuffled(model.training_auc, self.reigned[last][2].training_auc):
                return False, 0.0  # whatever the comparisons say
            best = max(range(last + 1), key=lambda i: (self.reigned[i][0], i))
            roles: dict[int, Role] = {best: "best", last: "champion"}
            rivals = [
                Rival(version=i + 1, role=role, answers=self.answers(self.reigned[i][1]))
                for i, role in sorted(roles.items(), reverse=True)  # the champion comes first
            ]
        answers = self.answers(score)
        recorded = value(self.rules.metric, answers, self.y)
        verdict = decide(
            answers=answers,
            y=self.y,
            recalls={},
            rivals=rivals,
            reigns=len(self.reigned),
            trail=self.trail,
            record=[*(each[0] for each in self.reigned), recorded],
            rules=self.rules,
        )
        if verdict.promote and keep:
            step = verdict.comparisons[0].difference if verdict.comparisons else 0.0
            self.reigned.append((recorded, score, model))
            self.trail.append((self.trail or [0.0])[-1] + step)
        first = verdict.comparisons[0].resolution if verdict.comparisons else None
        return verdict.promote, first or 0.0

    def answers(self, score: NDArray[np.float32]) -> Answers:
        return answers_of(score[self.rows])

    def ordinary(self, count: int, *, moving: bool = False) -> list[tuple[bool, float]]:
        """Some ordinary nights, the first of which needs no gate."""
        passed = []
        for _ in range(count + 1):
            if moving:
                self.draw()
            passed.append(self.night(self.any(self.pool.equal)))
        return passed[1:]


def ordinary(setting: Setting, rules: Rules, stores: int, *, moving: bool = False) -> float:
    passed = [
        promoted
        for trial in range(stores)
        for promoted, _ in Store(setting, trial, rules).ordinary(ORDINARY, moving=moving)
    ]
    return float(np.mean(passed))


def after_ordinary(setting: Setting, rules: Rules, stores: int) -> tuple[float, int, int, float]:
    """Promoted of equal nights, of shuffled ones, of these with shuffled test rows, resolution."""
    passed, resolutions, clean, both = [], [], 0, 0
    for trial in range(stores):
        store = Store(setting, trial, rules)
        nights = store.ordinary(ORDINARY)
        passed += [promoted for promoted, _ in nights]
        resolutions += [resolution for _, resolution in nights if resolution]
        models = [store.any(store.pool.shuffled) for _ in range(SPOILED)]
        clean += sum(store.night(model, keep=False)[0] for model in models)
        wrong = store.random.random(len(store.y)) < 0.3
        store.y = store.y.copy()
        store.y[wrong] = store.random.permutation(store.y[wrong])
        both += sum(store.night(model, keep=False)[0] for model in models)
    return float(np.mean(passed)), clean, both, float(np.median(resolutions))


def decline(setting: Setting, rules: Rules, stores: int) -> NDArray[np.float64]:
    """(runs, 2), points: what was lost at the first night not promoted, and what in the end."""
    losses, grid = shares(setting, gain=False)
    lost = []
    for trial in range(stores):
        store = Store(setting, trial, rules)
        store.ordinary(1)
        worst, stopped = 0.0, 0.0
        for night in range(1, DECLINE + 1):
            model = store.any(store.pool.equal)
            share = float(np.interp(0.001 * night, losses, grid))
            score = mixed_up(model.score, share, 100 * trial + night)
            if store.night(model, score)[0]:
                worst = 0.1 * night
            else:
                stopped = stopped or 0.1 * night
        lost.append((stopped or 0.1 * DECLINE, worst))
    return np.array(lost)


def gain(setting: Setting, rules: Rules, stores: int, resolution: float) -> float:
    won, grid = shares(setting, gain=True)
    share = float(np.interp(2 * resolution, won, grid))
    passed = []
    for trial in range(stores):
        store = Store(setting, trial, rules)
        store.ordinary(ORDINARY)
        for each in range(GAINS):
            model = store.any(store.pool.equal)
            score = put_right(model.score, store.pool.y, share, 100 * trial + each)
            passed.append(store.night(model, score, keep=False)[0])
    return float(np.mean(passed))


def measure(setting: Setting) -> str:
    """The true difference of retrained models, and what is measured between them."""
    true, seen = [], []
    for number in range(POOLS):
        kept = setting.pool(number)
        values = [value(setting.metric, answers_of(model.score), kept.y) for model in kept.equal]
        rows = np.random.default_rng(number).choice(RESERVOIR, setting.test_rows, replace=False)
        for i, j in itertools.combinations(range(MODELS), 2):
            true.append(values[i] - values[j])
            both = (answers_of(kept.equal[k].score[rows]) for k in (i, j))
            seen.append(paired.change(setting.metric, *both, kept.y[rows]))
    deviation, change = float(np.std(true)), float(np.mean(seen))
    return (
        f"| {setting.test_rows:,} | {scores.TITLES[setting.metric]} | {100 * deviation:.3f} | "
        f"{100 * change:.2f} | {deviation / change:.3f} |"
    )


def limit(setting: Setting) -> str:
    """What is lost to a decline before any test of its trend stops it 95 times in 100.

    The least-squares slope over n nights whose scores have the standard deviation s is known to
    s / sqrt(n (n^2 - 1) / 12). No unbiased linear estimate is better (Gauss, Markov).
    """
    variances = []
    for number in range(POOLS):
        kept = setting.pool(number)
        for draw in range(4):
            rows = np.random.default_rng([number, draw]).choice(
                RESERVOIR, setting.test_rows, replace=False
            )
            said = [
                value(setting.metric, answers_of(model.score[rows]), kept.y[rows])
                for model in kept.equal
            ]
            variances.append(np.var(said, ddof=1))
    deviation = 100 * float(np.sqrt(np.mean(variances)))

    def lost(level: float) -> float:
        sure = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(0.95)
        return 0.1 * next(
            n for n in itertools.count(2) if 0.1 * np.sqrt(n * (n * n - 1) / 12) >= sure * deviation
        )

    return (
        f"| {scores.TITLES[setting.metric]} | {setting.test_rows:,} | {deviation:.2f} | "
        f"{lost(0.05):.1f} | {lost(TREND * 0.05):.1f} |"
    )


def shown(points: NDArray[np.float64]) -> str:
    return ", ".join(f"{each:.1f}" for each in np.percentile(points, [50, 95, 100]))


def simulated(setting: Setting, stores: int) -> str:
    promote = Rules(metric=setting.metric)
    keep = Rules(metric=setting.metric, when_unsure="keep")
    equal, clean, both, resolution = after_ordinary(setting, promote, stores)
    falls = decline(setting, promote, stores)
    return (
        f"| {scores.TITLES[setting.metric]} | {setting.test_rows:,} | {equal:.1%} | "
        f"{ordinary(setting, keep, max(stores // 4, 1)):.0%} | "
        f"{ordinary(setting, promote, max(stores // 4, 1), moving=True):.1%} | "
        f"{clean} of {stores * SPOILED:,} | {both} | {shown(falls[:, 0])} | {shown(falls[:, 1])} | "
        f"{100 * resolution:.2f} | {gain(setting, promote, max(stores // 4, 1), resolution):.0%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", type=int, default=20, help="models whose nights are simulated")
    parser.add_argument("--rows", type=int, nargs="*", default=[300, 1_300, 10_000])
    parser.add_argument("--metrics", nargs="*", default=METRICS)
    parser.add_argument("--seed", type=int, default=1, help="0 is what the rule was made with")
    parser.add_argument("--even", action="store_true", help="44 %% positive rows for all metrics")
    parser.add_argument("--measure", action="store_true", help="measure retrained models instead")
    parser.add_argument("--limit", action="store_true", help="what any test of a trend can do")
    options = parser.parse_args()
    line: Callable[[Setting], str] = functools.partial(simulated, stores=options.stores)
    if options.limit:
        line = limit
        print("| metric | test rows | deviation, points | lost at 5 % | lost at 1 % |")
        print("|" + "---|" * 5)
    elif options.measure:
        line = measure
        print("| test rows | metric | true difference, points | change | part |")
        print("|" + "---|" * 5)
    else:
        print(
            "| metric | test rows | equal | equal, `keep` | other test rows each night | "
            "30 % shuffled | test labels, too | decline: stopped at | lost in the end | resolution "
            "| gain of twice that |"
        )
        print("|" + "---|" * 11)
    for metric in options.metrics:
        for rows in options.rows:
            setting = Setting(metric=metric, test_rows=rows, seed=options.seed, even=options.even)
            print(line(setting), flush=True)


if __name__ == "__main__":
    main()

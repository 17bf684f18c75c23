"""Permutation importance: how much worse a table's model scores when one column is shuffled."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config.gate import Metric
from job.data.dataset import Classes, Split
from job.data.schema import Schema
from job.evaluation import scores
from job.evaluation.metrics import Z
from job.evaluation.threshold import Threshold, decide

ROUNDS = 10

PREDICTIONS = 40_000
"""Rows that are predicted in all, about: seconds of a large network on a CPU."""

LEAST_ROWS, MOST_ROWS = 100, 1000
"""Test rows that are drawn in each round."""

FEWEST = 3
"""Rounds below which there is no interval."""

MEASURED = 40
"""Columns that are measured in every round; of more, a quick round chooses them."""

SEED = 0


@dataclass(frozen=True, kw_only=True)
class ColumnImportance:
    """What a model loses when a column is shuffled; negative for a gain.

    Attributes:
        column: Its name.
        loss: The rise of the log loss, nats.
        loss_interval: Its 95 % interval.
        lost: The loss in the metric that versions are compared by, in its units; None where the
            rows do not define it.
        lost_interval: Its 95 % interval.
    """

    column: str
    loss: float
    loss_interval: tuple[float, float]
    lost: float | None
    lost_interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The columns of a table by what the model owes to them.

    Attributes:
        metric: What `lost` counts.
        rows: Test rows that were drawn in each round.
        rounds: How often each column was shuffled.
        columns: By `loss`, the largest first.
        unmeasured: Columns of a wide table that a quick round found to matter less.
    """

    metric: Metric
    rows: int
    rounds: int
    columns: tuple[ColumnImportance, ...]
    unmeasured: int = 0


def importance(
    predict: Callable[[Any], NDArray[np.float32]],
    test: Split,
    schema: Schema,
    *,
    probabilities: NDArray[np.float32],
    classes: Classes,
    metric: Metric,
    threshold: Threshold | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Importance | None:
    """Shuffles each column of the test rows and scores the model again.

    Every round draws rows with replacement, so that the spread of the rounds holds both the
    chance in shuffling and the chance in which rows there are.

    Args:
        predict: Rows as `test.x` has them → (rows, classes), float32.
        test: The test rows.
        schema: The columns.
        probabilities: What the model says of the test rows.
        classes: The labels.
        metric: What is measured besides the log loss.
        threshold: How a class is decided for.
        stop: Asked before each prediction; ends the measurement, the whole rounds count.

    Returns:
        None when it was stopped before there is an interval.

    Sources:
        importance: Breiman, "Random Forests", Machine Learning 45 (2001), section 10; of any
            model: Fisher, Rudin, Dominici, JMLR 20 (2019), "All models are wrong, but many are
            useful".
        interval: m-out-of-n bootstrap, its variance scaled by m/n and the Monte Carlo error added
            (Bickel, Götze, van Zwet, Statistica Sinica 7, 1997).
    """
    random = np.random.default_rng(SEED)
    places = schema.places()
    count = len(test)

    def drawn(size: int, columns: Iterable[str]) -> dict[str, tuple[float, float]]:
        """Column → rise of the log loss and loss in the metric, on one draw of rows."""
        rows = random.integers(0, count, size)
        x, y = {name: array[rows] for name, array in test.x.items()}, test.y[rows]

        def scored(said: NDArray[np.float32]) -> tuple[float, float]:
            named = scores.score(metric, said, y, decide(said, classes, threshold))
            loss = float(scores.losses(said, y).mean())
            return loss, np.nan if named is None else named

        whole = scored(probabilities[rows])
        found = {}
        for column in columns:
            if stop():
                break
            key, place = places[column]
            kept = x[key][:, place].copy()
            x[key][:, place] = kept[random.permutation(size)]
            shuffled = scored(predict(x))
            x[key][:, place] = kept
            lost = scores.better_by(metric, whole[1], shuffled[1])
            found[column] = (shuffled[0] - whole[0], lost)
        return found

    columns: Sequence[str] = tuple(places)
    if len(columns) > MEASURED:
        quick = drawn(min(count, LEAST_ROWS), columns)
        if len(quick) < len(columns):
            return None
        columns = sorted(quick, key=lambda name: -quick[name][0])[:MEASURED]
    size = PREDICTIONS // (ROUNDS * len(columns))
    size = min(count, max(LEAST_ROWS, min(size, MOST_ROWS)))
    rounds = []
    for _ in range(ROUNDS):
        found = drawn(size, columns)
        if len(found) < len(columns):
            break
        rounds.append(found)
    if len(rounds) < FEWEST:
        return None
    measured = [_column(name, [each[name] for each in rounds], size / count) for name in columns]
    return Importance(
        metric=metric,
        rows=size,
        rounds=len(rounds),
        columns=tuple(sorted(measured, key=lambda each: -each.loss)),
        unmeasured=len(places) - len(measured),
    )


def _column(name: str, drops: list[tuple[float, float]], share: float) -> ColumnImportance:
    """The means of the rounds and their intervals; `share` is that of the rows in a round."""
    losses, metric = np.array(drops).T
    metric = metric[~np.isnan(metric)]
    loss, loss_interval = _interval(losses, share)
    lost, lost_interval = _interval(metric, share) if len(metric) >= FEWEST else (None, None)
    return ColumnImportance(
        column=name,
        loss=loss,
        loss_interval=loss_interval,
        lost=lost,
        lost_interval=lost_interval,
    )


def _interval(values: NDArray[np.float64], share: float) -> tuple[float, tuple[float, float]]:
    mean = float(values.mean())
    half = Z * float(values.std(ddof=1)) * (1 / len(values) + share) ** 0.5
    return mean, (mean - half, mean + half)

"""free text: whether the words of a table's column lower the loss on rows that were not trained on.

A small network is trained on some rows without any of the columns, then with each of them alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.data import splits
from job.data.dataset import Dataset, Split
from job.models import build, plan
from job.training import calibration
from job.training.fitting import fit

MOST = 200_000
"""Training rows from which on nothing is tried: the words of all would take too much memory."""

ROWS = 6000
"""Rows that decide, at most."""

COLUMNS = 4
"""Columns that are tried, at most; the first ones of the table."""

PARTS = 3
"""A third of the rows is held out: half of it stops training, and half of it decides."""

SMALL = {
    "model": "tabular", "members": 1, "hidden": (64, 64), "dropout": 0.1, "epochs": 40,
    "batch_size": 64, "learning_rate": 0.005, "patience": 3, "time_limit": None,
    "class_weights": False, "text": (),
}  # fmt: skip
"""Options of the networks."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A column of free text that was tried.

    Attributes:
        column: Its name.
        loss: With its words, nats a row.
        without: Without any free text, on the same rows.
        kept: Whether the loss is lower, by more than the standard error of the difference.
    """

    column: str
    loss: float
    without: float
    kept: bool

    def __str__(self) -> str:
        """A sentence."""
        does = "is learned from" if self.kept else "is left out"
        return (
            f"Free text {self.column[:80]!r} {does}: on validation rows of a trial the loss was "
            f"{self.loss:.4f} with its words and {self.without:.4f} without."
        )


def candidates(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """Columns that were left out as free text and may be tried; none where the user chose some.

    Args:
        config: The options.
        dataset: As they say.
    """
    from job.data.table import kinds, words
    from job.data.table.fit import FREE

    if dataset.table is None or config.data.text is not None or config.model.model == "mlp":
        return ()
    if len(dataset.train) > MOST:
        return ()
    found = [each.column for each in dataset.findings if each.code == "free-text"]
    source = dataset.table.source
    prose = [n for n in found if words.average(kinds.coded(source.column(n))) >= FREE]
    return tuple(prose[:COLUMNS])


def tried(
    config: Config, dataset: Dataset, names: tuple[str, ...], should_stop: Callable[[], bool]
) -> tuple[Trial, ...]:
    """Trains the small networks; none where too few groups of rows are left to hold some out.

    Args:
        config: The options.
        dataset: Read with the columns as free text.
        names: The columns.
        should_stop: As for `fit`.

    Raises:
        TrainingDiverged, Preempted: As `fit`.
    """
    some = _some(dataset, config.training.seed)
    if len(np.unique(some.keys())) <= PARTS:
        return ()

    def losses(used: tuple[str, ...]) -> NDArray[np.float64]:
        rows = _with(some, used)
        settled = plan.decide(config.replaced(**SMALL), rows, gpu=False).config
        seen = fit(build(settled, rows), rows, settled, should_stop=should_stop).validation
        assert seen is not None  # noqa: S101 - there are held-out rows
        return calibration.losses(seen.probabilities, rows.train.y[seen.rows])

    without = losses(())
    trials = []
    for name in names:
        own = losses((name,))
        lower = without - own
        error = lower.std() / len(lower) ** 0.5
        trials.append(
            Trial(
                column=name,
                loss=float(own.mean()),
                without=float(without.mean()),
                kept=bool(lower.mean() > error),
            )
        )
    return tuple(trials)


def _some(dataset: Dataset, seed: int) -> Dataset:
    """Some training rows, a share of which is held out."""
    assert dataset.table is not None  # noqa: S101 - as `candidates` has seen to
    rows = np.sort(np.random.default_rng(seed).permutation(len(dataset.train))[:ROWS])
    y, keys = dataset.train.y[rows], dataset.keys()[rows]
    held = splits.folds(y, keys, PARTS, seed=seed) == 0
    return replace(
        dataset,
        train=Split(x={name: array[rows] for name, array in dataset.train.x.items()}, y=y),
        fit_rows=np.flatnonzero(~held),
        validation_rows=np.flatnonzero(held),
        table=replace(dataset.table, keys=keys),
    )


def _with(dataset: Dataset, used: tuple[str, ...]) -> Dataset:
    """The training rows with some of the columns of free text alone."""
    assert dataset.table is not None  # noqa: S101 - as `candidates` has seen to
    schema = dataset.table.schema
    x: dict[str, Any] = {k: v for k, v in dataset.train.x.items() if k != "words"}
    kept = np.concatenate([np.repeat(c.name in used, c.words) for c in schema.texts])
    if used:
        x["words"] = dataset.train.x["words"][:, kept]
    columns = tuple(c for c in schema.columns if c.kind != "text" or c.name in used)
    return replace(
        dataset,
        train=replace(dataset.train, x=x),
        table=replace(dataset.table, schema=replace(schema, columns=columns)),
    )

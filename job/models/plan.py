"""plan: what the options leave open, decided by the data and the device."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from job.config import Config
from job.data import splits
from job.data.dataset import Dataset
from job.errors import UsageError

REFERENCE: Mapping[str, Any] = {
    "members": 1,
    "hidden": (350, 50),
    "dropout": 0.0,
    "epochs": 10,
    "batch_size": 250,
    "learning_rate": 0.001,
    "validation_split": 0.2,
}
"""What the reference MLP of the tutorial takes for options that are left open."""

OPEN = ("model", *REFERENCE, "patience")
"""Options that may be left open."""

SMALL = 1000
"""Training rows of a table below which members are independent: a tenth of fewer rows validates
nothing, and training costs little."""

HELD_OUT = 0.1
"""Share of a table's training rows that no member trains on, where members share weights."""

MANY = 20_000
"""Rows from which an epoch has so many steps that fewer epochs without progress are enough."""

SHARED, INDEPENDENT, FOLDS = 16, 10, 5
"""Members that share weights; members of their own, and the folds that these hold out."""

WIDTH, SMALL_WIDTH = 192, 96
"""Units of each of two layers."""

CPU_WORK = 4e11
"""Multiplications and additions of an epoch that a processor is given: about 5 s on two cores."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Options of which none is open, and why they were chosen.

    Attributes:
        config: The options.
        chosen: The options that were open, and what they have become (JSON values).
        reasons: A sentence for each thing that the device decided.
    """

    config: Config
    chosen: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def network(config: Config, *, table: bool) -> str:
    """The kind of network: what `--model auto` stands for."""
    if config.model.model != "auto":
        return config.model.model
    return "tabular" if table else "mlp"


def reference(config: Config) -> Config:
    """The same options, with the tutorial's values for those that are open."""
    flat = config.flat()
    missing = {name: value for name, value in REFERENCE.items() if flat[name] is None}
    return config.replaced(**missing) if missing else config


def holdout(config: Config) -> splits.Share:
    """The share of training rows to hold out, or a function of what data has come.

    Returns:
        A share, or (is it a table, training rows) → share. The latter is asked where the network
        has a say: independent members hold out folds of their own in place of common rows.
    """
    given, several = config.data.validation_split, (config.model.members or 1) > 1
    plain = 0.0 if several else float(REFERENCE["validation_split"])
    if config.model.model == "mlp":
        return plain if given is None else given

    def share(table: bool, rows: int) -> float:
        if given is not None:
            return given
        if network(config, table=table) == "mlp":
            return plain
        return 0.0 if independent(config, rows) else HELD_OUT

    return share


def independent(config: Config, rows: int) -> bool:
    """Whether members share no weights.

    Args:
        config: `model` and `members` are read.
        rows: All training rows.
    """
    return config.model.model == "mlp" or rows < SMALL


def folds(config: Config, dataset: Dataset) -> int:
    """How many folds the members hold out in turn; 0 where rows are held out of all of them."""
    alone = independent(config, len(dataset.train))
    if len(dataset.validation_rows) or not alone or (config.model.members or 1) == 1:
        return 0
    smallest = min(count for count in _counts(dataset) if count)
    return max(2, min(FOLDS, int(config.model.members or FOLDS), smallest))


def decide(config: Config, dataset: Dataset, *, gpu: bool) -> Plan:
    """Fills in what is open.

    Args:
        config: The options.
        dataset: What is trained on.
        gpu: Whether the device is one; a processor is given a smaller network on many rows.

    Raises:
        UsageError: The network for tables, and data that is no table.
    """
    kind = network(config, table=dataset.table is not None)
    if kind == "tabular" and dataset.table is None:
        raise UsageError(
            "--model: expected auto or mlp, since --data is no table. Received: 'tabular'.",
            hint="Leave --model out.",
        )
    rows, flat = len(dataset.train), config.flat()
    share = holdout(config)
    held = share(dataset.table is not None, rows) if callable(share) else share
    values: dict[str, Any] = {**REFERENCE, "validation_split": held}
    reasons: tuple[str, ...] = ()
    if kind == "tabular":
        alone = independent(config, rows)
        values |= {
            "members": INDEPENDENT if alone else SHARED,
            "hidden": (SMALL_WIDTH if alone else WIDTH,) * 2,
            "dropout": 0.1,
            "epochs": 256 if held or alone else 64,
            "batch_size": _batch(len(dataset.fit_rows)),
            "learning_rate": 0.002,
            "patience": (16 if rows < MANY else 8) if held or alone else None,
        }
        if not gpu and not alone and flat["hidden"] is None and flat["members"] is None:
            smaller, reasons = _shrunk(dataset)
            values |= smaller
    chosen = {name: value for name, value in values.items() if flat[name] is None}
    if config.model.model == "auto":
        chosen["model"] = kind
    return Plan(config=config.replaced(**chosen), chosen=chosen, reasons=reasons)


def resumed(config: Config, chosen: Mapping[str, Any] | None) -> Config:
    """The options with what an earlier try, or a published version, chose for the open ones.

    Args:
        config: The options.
        chosen: Option → value; None of a version that had the reference MLP alone.
    """
    flat = config.flat()
    if chosen is None:
        chosen = {"model": "mlp", **REFERENCE}
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in chosen.items()
        if name in OPEN and (flat[name] is None or (name == "model" and flat[name] == "auto"))
    }
    return config.replaced(**values) if values else config


def width(dataset: Dataset) -> int:
    """Features of the tabular network, at most: what its first layer multiplies."""
    from job.models.tabular import BINS

    assert dataset.table is not None  # noqa: S101 - only asked about tables
    schema = dataset.table.schema
    return len(schema.numbers) * (BINS + 1) + sum(1 + len(c.vocabulary) for c in schema.lookups)


def _shrunk(dataset: Dataset) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Fewer members, then narrower layers, until an epoch's work suits a processor."""
    features, rows = width(dataset), len(dataset.fit_rows)

    def work(members: int, units: int) -> float:
        return 6.0 * rows * members * units * (features + units)

    for members, units in ((16, 192), (8, 192), (8, 128), (4, 128), (4, 64)):
        if work(members, units) <= CPU_WORK or (members, units) == (4, 64):
            break
    if (members, units) == (SHARED, WIDTH):
        return {}, ()
    smaller = {"members": members, "hidden": (units, units)}
    reason = (
        f"{members} members of {units} units in place of {SHARED} of {WIDTH}: {rows:,} rows of "
        f"{features:,} features would take long on a processor. --members and --hidden decide."
    )
    return smaller, (reason,)


def _batch(rows: int) -> int:
    """An eighth of the rows between 32 and 256, and more on many rows."""
    if rows >= MANY:
        return 512 if rows < 100_000 else 1024
    return max(32, min(256, rows // 8))


def _counts(dataset: Dataset) -> list[int]:
    import numpy as np

    return [int(count) for count in np.bincount(dataset.train.y[dataset.fit_rows])]

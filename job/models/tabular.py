"""tabular: the network for tables, independent members of several networks that share weights.

Sources: Gorishniy, Kotelnikov, Babenko, "TabM", ICLR 2025 (members that share weights by
Wen, Tran, Ba, "BatchEnsemble", ICLR 2020); Gorishniy, Rubachev, Babenko, "On Embeddings for
Numerical Features in Tabular Deep Learning", NeurIPS 2022 (piecewise linear encoding).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.data.dataset import Dataset
from job.data.schema import Column, Schema
from job.models import inputs
from job.models.members import expect_room, side_by_side

COARSE, FINE = (48, 10), (192, 60)
"""Bins of a number, at most, and rows of a bin, at least; the pair that gives more bins counts."""

BINS, ALWAYS = 512, 24
"""Bins of all numbers together, at most; but each number may have ALWAYS."""

SAMPLE = 1 << 19
"""Rows that quantiles are taken from, at most."""

ONE_HOT = 64
"""Codes of a column of categories up to which it is one-hot; one of more is embedded."""

SPREAD = 0.3
"""Standard deviation of a category's first vector."""

HEADS = 4
"""Networks of a member, which share weights; the heads of `Members`."""

WEIGHT_DECAY, MOMENTUM = 3e-4, 0.98
"""AdamW's weight decay; momentum of the moving average of the weights."""

FEW = 800
"""Training rows below which members stop at their lowest loss: there, to go on raised the loss."""

AXES = {2: "bd", 3: "bmd", 4: "bmkd"}
"""Number of axes of what a layer takes → its axes in `EinsumDense`: b rows, m members, k heads,
d features."""

LIMIT = 0.999
"""Central share of the training rows; a number outside it has the normal value of its edge."""


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Where a table's numbers lie in the training rows; a column may have fewer bins than others.

    Attributes:
        low: (columns, bins) lower edges.
        scale: (columns, bins) 1 / width; 0 for a bin that is not there.
        mass: (columns, bins) share of the training rows in each.
        below: (columns,) share of the training rows below the first edge, plus half of those on it.
    """

    low: NDArray[np.float32]
    scale: NDArray[np.float32]
    mass: NDArray[np.float32]
    below: NDArray[np.float32]


def most_bins(rows: int, columns: int) -> int:
    """Bins of each of a table's numbers, at most."""
    most = max(min(limit, rows // each) for limit, each in (COARSE, FINE))
    return max(2, min(most, max(ALWAYS, BINS // columns)))


def bins(numbers: NDArray[np.float32]) -> Bins:
    """Bins between quantiles, or between all values of a column that has few.

    Args:
        numbers: (rows, columns), NaN where one is missing, which may be all of a sparse column's,
            since these rows are a sample.
    """
    most = most_bins(*numbers.shape)
    each = (COARSE if most * numbers.shape[1] <= BINS else FINE)[1]
    edges = []
    for column in numbers.T.astype(np.float64):
        present = np.sort(column[~np.isnan(column)])
        present = present if len(present) else np.zeros(1)
        values, counts = np.unique(present, return_counts=True)
        if len(values) > most + 1:
            # A value of many rows is one edge, not several that are equal; the bins that this
            # saves go to the other rows, where those are enough for them.
            heavy = values[counts * most > len(present)]
            rest = present[~np.isin(present, heavy)]
            count = max(1, most * len(rest) // len(present), len(rest) // each)
            count = min(count, most - len(heavy))
            quantiles = np.quantile(rest, np.linspace(0, 1, count + 1))
            values = np.unique(np.concatenate([heavy, quantiles]).astype(np.float32))
            values = values.astype(np.float64)
        edges.append((values, present))
    widest = max(1, *(len(values) - 1 for values, _ in edges))
    low, scale, mass = (np.zeros((len(edges), widest), np.float32) for _ in range(3))
    below = np.zeros(len(edges), np.float32)
    largest = float(np.finfo(np.float32).max)
    for i, (values, present) in enumerate(edges):
        count = len(values) - 1
        rank = np.searchsorted(present, values, "left") + np.searchsorted(present, values, "right")
        share = rank / 2 / len(present)
        low[i, :count] = values[:-1]
        scale[i, :count] = np.minimum(1 / np.diff(values), largest)
        mass[i, :count] = np.diff(share)
        below[i] = share[0]
    return Bins(low=low, scale=scale, mass=mass, below=below)


def bins_of(dataset: Dataset) -> Bins:
    """Those of a table's numbers, from the rows that the network learns from."""
    return bins(dataset.train.x["numbers"][_some(dataset.fit_rows)])


def build(config: Config, dataset: Dataset) -> Any:
    """A compiled `Members` on a table's `Compact` arrays.

    Each number is given as a piecewise linear encoding and as its quantile's normal value, each
    category one-hot or embedded. The initial weights follow from the seed alone.

    Args:
        config: Nothing in it is open; see `plan.decide`.
        dataset: A table.
    """
    import keras

    keras.utils.set_random_seed(config.training.seed)
    assert dataset.table is not None  # noqa: S101 - as `plan.decide` has seen to
    schema, precision = dataset.table.schema, config.training.precision
    members, rows = int(config.model.members or 1), inputs.tensors(schema)
    layers = _Layers(config, members)
    hidden = encoded(schema, rows, dataset, members)
    widths = (hidden.shape[-1], *(config.model.hidden or ()))
    expect_room(members, *itertools.pairwise(widths), (HEADS, widths[-1], len(dataset.classes)))
    for units in config.model.hidden or ():
        hidden = layers.dense(hidden, units)
        hidden = keras.layers.Activation(config.model.activation, dtype=precision)(hidden)
        if config.model.dropout:
            # One mask for all: random numbers cost more than products do.
            mask = (None, 1, 1, units)
            hidden = keras.layers.Dropout(config.model.dropout, mask, dtype=precision)(hidden)
    logits = layers.head(hidden, len(dataset.classes))
    return side_by_side(
        keras.Model(rows, logits, name="tabular"),
        keras.optimizers.AdamW(config.training.learning_rate, weight_decay=WEIGHT_DECAY),
        config,
        dataset,
        average=MOMENTUM,
        overtrained=members > 1 and len(dataset.fit_rows) >= FEW,
        repeated=0.0 if config.data.group or members == 1 else repeated(dataset),
    )


def repeated(dataset: Dataset) -> float:
    """The share of training rows that equal another one, class included; those have one key."""
    rows = _some(dataset.fit_rows)
    y = dataset.train.y[rows]
    _, first, group, count = np.unique(
        dataset.keys()[rows], return_index=True, return_inverse=True, return_counts=True
    )
    count[group[y != y[first[group]]]] = 1  # equal rows of several classes cannot be learned
    return float((count[group] > 1).mean())


def encoded(schema: Schema, rows: Mapping[str, Any], dataset: Dataset, members: int) -> Any:
    """(rows, features) float32, or (rows, members, features) where something in it is trained.

    Args:
        schema: The columns.
        rows: As `inputs.tensors` gives them.
        dataset: Its `fit_rows` say where the numbers lie.
        members: Of the network; each trains the vectors of categories and words by itself.
    """
    import keras

    ops, parts = keras.ops, []
    if schema.numbers:
        found = bins_of(dataset)
        missing = ops.isnan(rows["numbers"])
        known = ops.where(missing, 0.0, rows["numbers"])
        shares = ops.clip((ops.expand_dims(known, 2) - found.low) * found.scale, 0.0, 1.0)
        quantile = ops.sum(shares * found.mass, axis=2) + found.below
        normal = ops.erfinv(ops.clip(2.0 * quantile - 1.0, -LIMIT, LIMIT)) * 2.0**0.5
        shares = ops.where(ops.expand_dims(missing, 2), 0.0, shares)
        parts += [
            ops.where(missing, 0.0, normal),
            *inputs.indicators(schema, missing),
            ops.take(keras.layers.Flatten()(shares), np.flatnonzero(found.scale), axis=1),
        ]
    own = []
    for i, column in enumerate(schema.lookups):
        count, size = inputs.slots(column), _size(column)
        if size == count:
            parts.append(inputs.one_hot(rows["codes"], i, column))
        else:
            codes = ops.take(rows["codes"], [i], axis=1)
            own.append(inputs.vectors(codes, members, count, size, SPREAD)[:, :, 0])
    for i, column in enumerate(schema.times):
        parts += inputs.calendar(rows["times"], i, column)
    own += inputs.bags(schema, rows, members)
    return inputs.joined(parts, own)


def feature_count(dataset: Dataset) -> int:
    """About how many features `encoded` gives, which the first layer multiplies."""
    assert dataset.table is not None  # noqa: S101 - only asked about tables
    schema = dataset.table.schema
    bins = int(np.count_nonzero(bins_of(dataset).scale)) if schema.numbers else 0
    return len(schema.numbers) + bins + sum(map(_size, schema.lookups))


def _size(column: Column) -> int:
    """Features of a category: codes one-hot or, of many, a vector by fast.ai's rule of thumb."""
    count = inputs.slots(column)
    return count if count <= ONE_HOT else min(16, round(1.6 * count**0.56))


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most SAMPLE of the row numbers, evenly apart."""
    if len(rows) <= SAMPLE:
        return rows
    return rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]


class _Layers:
    """Layers of members, each of several networks that share weights.

    `((x * r) W) * s + b`, with W of each member, and r, s and b of each of its networks.
    """

    def __init__(self, config: Config, members: int):
        self._each = members, HEADS
        self._precision, self._first = config.training.precision, True
        self._random = np.random.default_rng((config.training.seed, 1))

    def dense(self, x: Any, units: int) -> Any:
        """(rows[, members], width), then (rows, members, heads, width) → the same with units."""
        import keras

        width = x.shape[-1]
        near = keras.initializers.RandomUniform(-(width**-0.5), width**-0.5)
        scale = keras.layers.EinsumDense(
            f"{AXES[len(x.shape)]},mkd->bmkd",
            (*self._each, width),
            kernel_initializer="ones",
            dtype=self._precision,
        )
        x = scale(x)
        if self._first:  # random signs make the networks of a member differ
            scale.kernel.assign(self._random.choice([-1.0, 1.0], scale.kernel.shape))
        self._first = False
        x = keras.layers.EinsumDense(
            "bmkd,mde->bmke", (*self._each, units), kernel_initializer=near, dtype=self._precision
        )(x)
        return keras.layers.EinsumDense(
            "bmke,mke->bmke",
            (*self._each, units),
            bias_axes="mke",
            kernel_initializer="ones",
            bias_initializer=near,
            dtype=self._precision,
        )(x)

    def head(self, x: Any, classes: int) -> Any:
        """What `dense` takes → (rows, members, heads, classes), float32."""
        import keras

        near = keras.initializers.RandomUniform(-(x.shape[-1] ** -0.5), x.shape[-1] ** -0.5)
        return keras.layers.EinsumDense(
            f"{AXES[len(x.shape)]},mkdo->bmko",
            (*self._each, classes),
            bias_axes="mko",
            kernel_initializer=near,
            bias_initializer=near,
            dtype="float32",
        )(x)

"""Which rows the gradient sees, and which are held out for validation or for the test."""

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from job.data import hashing, labels
from job.data.dataset import Labelled, Part
from job.data.findings import Finding
from job.data.place import BLOCK_ROWS, MEMORY, Place, counts
from job.errors import DataError

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The rows to fit and the rows to validate on, each ascending; together all rows."""

Share = float | Callable[[bool], float]
"""Of the training rows that are held out for validation; or what the network chooses, from
whether the data is a table."""


def last_share(rows: int, share: float, name: str) -> Rows:
    """Holds out the last rows, as Keras's `validation_split` does.

    Args:
        rows: How many there are.
        share: Of them, from 0 to below 1.
        name: How messages call the data.

    Raises:
        DataError: One side would be empty.

    Source: `train_validation_split` in keras/src/trainers/data_adapters/data_adapter_utils.py.
    """
    fit = math.floor(rows * (1.0 - share))
    return _checked(np.arange(fit), np.arange(fit, rows), share, name)


def stratified(y: NDArray[np.int32], share: float, name: str, place: Place = MEMORY) -> Rows:
    """Holds out the last rows of each class, in the file's order; none of a class's only row.

    Args:
        y: (rows,), class indices.
        share: Of each class's rows, from 0 to below 1; rounded to the nearest number of rows.
        name: How messages call the data.
        place: Where the row numbers go.

    Raises:
        DataError: Rows were to be held out, and every class is too small for it.
    """
    each = counts(y, int(y.max()) + 1)
    held = np.minimum((each * share + 0.5).astype(np.int64), np.maximum(each - 1, 0))
    small = np.min_scalar_type(len(each))  # NumPy counts numbers of 16 bits, and sorts larger ones
    out = np.empty(len(y), np.bool_)
    before = np.zeros(len(each), np.int64)  # rows of each class, in the blocks before
    for start in range(0, len(y), BLOCK_ROWS):
        block = y[start : start + BLOCK_ROWS]
        here = np.bincount(block, minlength=len(each))
        order = np.argsort(block.astype(small), kind="stable")
        rank = np.arange(len(block)) + np.repeat(before - (np.cumsum(here) - here), here)
        out[start + order] = rank >= np.repeat(each - held, here)
        before += here
    return _checked(place.where(~out, name), place.where(out, name), share, name)


def folds(
    y: NDArray[np.int32],
    keys: NDArray[np.uint64],
    count: int,
    *,
    seed: int = 0,
    place: Place = MEMORY,
) -> NDArray[np.int32]:
    """(rows,) a fold for each row, 0 to count - 1, with about as many rows of each class.

    Args:
        y: (rows,), class indices.
        keys: (rows,); rows of one key are in one fold.
        count: Of folds.
        seed: Of the order in which keys are dealt out.
        place: Where it is worked out; the folds are the same in each.
    """
    if place.streamed:
        return _folds(y, keys, count, seed, place)
    unique, first, group = np.unique(keys, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(unique))
    order = order[np.argsort(y[first][order], kind="stable")]
    fold = np.empty(len(unique), np.int32)
    fold[order] = np.arange(len(unique)) % count
    return fold[group.reshape(-1)]


def _folds(
    y: NDArray[np.int32], keys: NDArray[np.uint64], count: int, seed: int, place: Place
) -> NDArray[np.int32]:
    """As `folds`, with the keys in parts by their first bits, one of which is in memory at once."""
    name, rows = "folds", len(keys)
    bits = max(1, (rows // BLOCK_ROWS).bit_length())
    spots = range(0, rows, BLOCK_ROWS)

    def part(block: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (block >> np.uint64(64 - bits)).astype(np.int64)

    sizes = np.zeros(1 << bits, np.int64)
    for start in spots:
        sizes += np.bincount(part(keys[start : start + BLOCK_ROWS]), minlength=1 << bits)
    ends = np.cumsum(sizes)
    parted = place.array((rows,), np.int64, name)  # row numbers, ascending in each part
    at = ends - sizes
    for start in spots:
        parts = part(keys[start : start + BLOCK_ROWS])
        order = np.argsort(parts, kind="stable")
        here = np.bincount(parts, minlength=1 << bits)
        rank = np.arange(len(parts)) - np.repeat(np.cumsum(here) - here, here)
        parted[at[parts[order]] + rank] = start + order
        at += here
    group = place.array((rows,), np.int64, name)
    labels_of = place.array((rows,), np.int32, name)
    unique = 0
    for first, last in zip(ends - sizes, ends, strict=True):
        some = parted[first:last]
        found, begins, inverse = np.unique(keys[some], return_index=True, return_inverse=True)
        group[some] = unique + inverse
        labels_of[unique : unique + len(found)] = y[some[begins]]
        unique += len(found)
    order = np.asarray(parted[:unique])
    for start in range(0, unique, BLOCK_ROWS):
        order[start : start + BLOCK_ROWS] = np.arange(start, min(start + BLOCK_ROWS, unique))
    np.random.default_rng(seed).shuffle(order)  # as `permutation` does
    fold = place.array((unique,), np.int32, name)
    each = counts(labels_of[:unique], int(y.max()) + 1)
    at = np.cumsum(each) - each
    for start in range(0, unique, BLOCK_ROWS):
        block = order[start : start + BLOCK_ROWS]
        own = labels_of[block]
        by_class = np.argsort(own, kind="stable")
        here = np.bincount(own, minlength=len(each))
        rank = np.arange(len(own)) - np.repeat(np.cumsum(here) - here, here)
        fold[block[by_class]] = (at[own[by_class]] + rank) % count
        at += here
    return place.taken(fold, group, name)


def by_key(
    y: NDArray[np.int32],
    keys: NDArray[np.uint64],
    share: float,
    name: str,
    place: Place = MEMORY,
) -> Rows:
    """Holds out a share of the rows, of each class, with all rows of a key on one side.

    Args:
        y: (rows,), class indices.
        keys: (rows,); rows of one key stay together.
        share: Of the rows; 0 for none.
        name: How messages call the data.
        place: Where the row numbers go.

    Raises:
        DataError: One side would be empty.
    """
    if not share:
        return place.where(np.ones(len(y), np.bool_), name), np.arange(0)
    out = folds(y, keys, round(1 / share), place=place) == 0
    return _checked(place.where(~out, name), place.where(out, name), share, name)


def by_hash(
    read: Callable[[Part], Labelled], share: float, place: Place = MEMORY
) -> Callable[[Part], Labelled]:
    """Gives a data set without test rows a test part: rows that a hash of each row chooses.

    Args:
        read: Reads the rows, as its training part.
        share: Of the rows held out, above 0 and below 1.
        place: Where the rows of a part go.

    Returns:
        Reads either part; the same row belongs to the same one tonight and next year. It raises
        what `read` does, and DataError for a part without rows.
    """
    whole = functools.cache(lambda: read("train"))

    def side(part: Part) -> Labelled:
        rows = whole()
        labels.check_count(rows)
        out = hashing.held_out(hashing.arrays(rows.x), share)
        chosen = np.flatnonzero(out if part == "test" else ~out)
        if not len(chosen):
            raise DataError(
                f"{rows.name}: expected enough rows to train and to test on with a test split of "
                f"{share}. Received: {len(out) - out.sum()} and {out.sum()}.",
                hint="Give more rows, another --test-split, or a --test-data of your own.",
            )
        x = place.array((len(chosen), *rows.x.shape[1:]), rows.x.dtype, rows.name)
        np.take(rows.x, chosen, axis=0, out=x, mode="clip")  # which spares a copy
        return Labelled(name=rows.name, x=x, labels=rows.labels[chosen], of=len(rows.x))

    return side


def scored(count: int, of: int, uri: str) -> Finding:
    """What is said of an evaluation on the rows that were held out."""
    return Finding(code="held-out-share", column=uri, count=count, of=of)


def _checked(
    fit: NDArray[np.int64], validation: NDArray[np.int64], share: float, name: str
) -> Rows:
    if not len(fit) or (share > 0 and not len(validation)):
        raise DataError(
            f"{name}: expected enough rows to fit and to validate on with a validation split of "
            f"{share}. Received: {len(fit)} and {len(validation)} of {len(fit) + len(validation)}.",
            hint="Give more rows of each class, or another --validation-split (0 for none).",
        )
    return fit, validation

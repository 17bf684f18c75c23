"""Which training rows the gradient sees, and which are held out for validation."""

import math

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError

Rows = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The rows to fit and the rows to validate on, each ascending; together all rows."""


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


def stratified(y: NDArray[np.int32], share: float, name: str) -> Rows:
    """Holds out the last rows of each class, in the file's order; none of a class's only row.

    Args:
        y: (rows,), class indices.
        share: Of each class's rows, from 0 to below 1; rounded to the nearest number of rows.
        name: How messages call the data.

    Raises:
        DataError: Rows were to be held out, and every class is too small for it.
    """
    counts = np.bincount(y)
    held = np.minimum((counts * share + 0.5).astype(np.int64), np.maximum(counts - 1, 0))
    order = np.argsort(y, kind="stable")
    rank = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    out = np.empty(len(y), np.bool_)
    out[order] = rank >= np.repeat(counts - held, counts)
    return _checked(np.flatnonzero(~out), np.flatnonzero(out), share, name)


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

"""Typed columns → what the model takes, by name, and → the matrix that is trained on.

The matrix is what the layers of `job.models.inputs` compute from the raw columns; a test
compares them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import memory
from job.data.schema import MISSING_INTEGER, MISSING_TEXT, Column, Schema
from job.data.table import kinds
from job.data.table.frame import Frame

Raw = dict[str, NDArray[Any]]
"""Column → (rows,) float32, int64, or text as Python strings: what the published model takes."""

EPSILON = 1e-7
"""Of keras.layers.Normalization: the smallest standard deviation that it divides by."""


def typed(frame: Frame, schema: Schema) -> Frame:
    """The columns of a schema in their types, so that no text is read twice.

    Raises:
        DataError: A value is not of its column's kind.
    """
    return frame.with_columns(
        {
            column.name: kinds.demanded(frame, column.name, kinds.target_of(column))
            for column in schema.columns
        }
    )


def raw(frame: Frame, schema: Schema) -> Raw:
    """The columns of a schema as the published model takes them.

    Raises:
        DataError: A value is not of its column's kind, or infinite.
    """
    return {
        column.name: _raw(
            kinds.demanded(frame, column.name, kinds.target_of(column)), column, frame
        )
        for column in schema.columns
    }


def matrix(frame: Frame, schema: Schema) -> NDArray[np.float32]:
    """The rows as the first layer sees them, (rows, schema.width).

    Raises:
        DataError: As `raw`, or the matrix is larger than memory.
    """
    x = memory.allocate((len(frame), schema.width), np.dtype(np.float32), frame.name)
    indicator = at = len(schema.numbers)
    for i, column in enumerate(schema.numbers):
        values = _numbers(kinds.demanded(frame, column.name, "number"), column.name, frame)
        missing = np.isnan(values)
        deviation = max(np.sqrt(np.float32(column.variance)), np.float32(EPSILON))
        values = (values - np.float32(column.mean)) / deviation
        x[:, i] = np.where(missing, 0, values)
        if column.has_missing:
            x[:, indicator] = missing
            indicator += 1
    at = indicator
    for column in schema.lookups:
        typed = kinds.demanded(frame, column.name, kinds.target_of(column))
        codes, width = lookup(typed, column), 1 + len(column.vocabulary)
        x[:, at : at + width] = codes[:, None] == np.arange(width)
        at += width
    return x


def lookup(typed: Any, column: Column) -> NDArray[np.int64]:
    """(rows,) 0 for what is not in the vocabulary, else 1 + its place there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = typed.cast(pa.int64()) if column.dtype == "int64" else typed
    found = pc.index_in(values, pa.array(list(column.categories), values.type))
    codes: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64) + 1
    if column.has_missing:
        codes[pc.is_null(values).to_numpy()] = len(column.vocabulary)
    return codes


def _raw(typed: Any, column: Column, frame: Frame) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.dtype == "float32":
        return _numbers(typed, column.name, frame)
    if column.dtype == "int64":
        integers: NDArray[Any] = pc.fill_null(typed.cast(pa.int64()), MISSING_INTEGER).to_numpy()
        return integers
    return np.array(pc.fill_null(typed, MISSING_TEXT).to_pylist(), dtype=object)


def _numbers(typed: Any, name: str, frame: Frame) -> NDArray[np.float32]:
    import pyarrow.compute as pc

    with np.errstate(over="ignore"):
        values: NDArray[np.float32] = (
            pc.fill_null(typed, float("nan")).to_numpy().astype(np.float32)
        )
    kinds.check_finite(frame, name, values)
    return values

"""Typed columns → the raw columns that a published model takes, and → the arrays to train on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import memory
from job.data.schema import MISSING_INTEGER, MISSING_TEXT, Column, Schema
from job.data.table import kinds
from job.data.table.frame import Frame

Raw = dict[str, NDArray[Any]]
"""Column → (rows,) float32, int64, or text as Python strings: what the published model takes."""


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


def compact(frame: Frame, schema: Schema) -> dict[str, NDArray[Any]]:
    """The rows as the trained network takes them: the smallest form that loses nothing.

    Returns:
        `numbers`, (rows, numbers) float32 with NaN for what is missing, and `codes`,
        (rows, lookups) int32 as `lookup` gives them; each only when there are such columns.

    Raises:
        DataError: As `raw`, or the arrays are larger than memory.
    """
    found = {}
    if schema.numbers:
        numbers = _empty(frame, len(schema.numbers), np.float32)
        for i, column in enumerate(schema.numbers):
            typed = kinds.demanded(frame, column.name, "number")
            numbers[:, i] = _numbers(typed, column.name, frame)
        found["numbers"] = numbers
    if schema.lookups:
        codes = _empty(frame, len(schema.lookups), np.int32)
        for i, column in enumerate(schema.lookups):
            typed = kinds.demanded(frame, column.name, kinds.target_of(column))
            codes[:, i] = lookup(typed, column)
        found["codes"] = codes
    return found


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


def _empty(frame: Frame, width: int, dtype: Any) -> NDArray[Any]:
    return memory.allocate((len(frame), width), np.dtype(dtype), frame.name)

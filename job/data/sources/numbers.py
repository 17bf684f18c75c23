"""Tables of plain numbers → rows for a model of arrays, through the readers of tables."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config.csv import Csv
from job.data.files.opening import Source
from job.errors import DataError


def blocks(key: str, path: Source, name: str, width: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Reads the columns of a table in their order.

    A first row that counts from 0 to width - 1 is a header, as pandas writes it for columns
    without names.

    Args:
        key: The file's name, whose ending says the format.
        path: Where it lies.
        name: How messages call it.
        width: Columns that it must have.

    Yields:
        The number of the first row, counting from 0 without a header, and (k, width) numbers.

    Raises:
        DataError: It is damaged, has no rows or another number of columns, or a value is missing
            or no number.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    from job.data.table import reader

    first = 0
    with reader.arrow_errors(name):
        for table, _, _, findings in reader.batches(key, path, name, Csv(), frozenset()):
            if any(finding.code == "short-rows" for finding in findings):
                raise _bad(name, first, "fewer fields")
            if table.num_columns != width:
                raise DataError(
                    f"{name}: expected {width} columns of numbers. "
                    f"Received: {table.num_columns} columns.",
                    hint="Write the columns that the model was trained on, in their order.",
                )
            if not table.num_rows:
                continue
            if not first and (odd := _values_above(table.column_names)):
                raise _bad(name, 0, odd)
            x = np.column_stack([_numbers(column, first, name) for column in table.columns])
            if not first and width > 2 and (x[0] == np.arange(width)).all():
                x = x[1:]
            yield first, x
            first += len(x)
    if not first:
        raise DataError(
            f"{name}: expected at least one row. Received: none.",
            hint="Check the program that wrote the file.",
            details={"rows": 0},
        )


def _values_above(names: list[str]) -> str:
    """What is no number in a first row that was taken as a header and has numbers; or nothing."""
    texts = [name for name in names if not _is_number(name)]
    counted = names == [str(i) for i in range(len(names))]
    return "" if counted or len(texts) == len(names) else repr((texts or names)[0][:80])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(column: Any, first: int, name: str) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)
    if not plain and not pa.types.is_null(kind):
        raise DataError(
            f"{name}: expected columns of numbers. Received: {str(kind)[:200]}.",
            hint="Write the columns that the model was trained on, in their order.",
        )
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise _bad(name, first + row, "a missing value")
    try:
        numbers: NDArray[Any] = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        for row, value in enumerate(column.to_pylist()):
            try:
                pa.scalar(value).cast(pa.float64())
            except pa.ArrowInvalid as exc:
                raise _bad(name, first + row, repr(value[:80])) from exc
        raise
    return numbers


def _bad(name: str, row: int, received: str) -> DataError:
    return DataError(
        f"{name}: expected as many numbers in each row as the model takes. "
        f"Received: {received} in row {row} (counting from 0, without a header).",
        hint="Correct the row, or remove it.",
    )

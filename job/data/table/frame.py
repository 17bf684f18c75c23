"""Frame: columns of one or several files in memory, which still know file and row."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A table.

    Attributes:
        name: How messages call it.
        columns: Name → Arrow chunked array of text (from CSV), int64, float64, bool, null, or a
            type that no model takes; missing values are null.
        files: (name, rows) of each file, in order.
        rows: (n,) the row each came from, counted through the files; None when all are there.
    """

    name: str
    columns: Mapping[str, Any]
    files: tuple[tuple[str, int], ...]
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return sum(count for _, count in self.files) if self.rows is None else len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> "Frame":
        """Some of the rows."""
        import pyarrow as pa

        indices = pa.array(rows)
        return Frame(
            name=self.name,
            columns={name: column.take(indices) for name, column in self.columns.items()},
            files=self.files,
            rows=rows if self.rows is None else self.rows[rows],
        )

    def with_columns(self, columns: Mapping[str, Any]) -> "Frame":
        """The same rows with other values in some columns."""
        return replace(self, columns={**self.columns, **columns})

    def place(self, row: int) -> str:
        """Where a row came from: its file and its number there."""
        row = row if self.rows is None else int(self.rows[row])
        for name, count in self.files:
            if row < count:
                return f"{name}: row {row}"
            row -= count
        return f"{self.name}: row {row}"

    def bad(self, row: int, column: str, expected: str, received: str, *, hint: str) -> DataError:
        """The error about one value."""
        return DataError(
            f"{self.place(row)} (counting from 0, without a header), column {column[:80]!r}: "
            f"expected {expected}. Received: {received}.",
            hint=hint,
        )


def joined(name: str, parts: Iterable[tuple[str, Any]]) -> Frame:
    """One frame of several files.

    Args:
        name: How messages call the whole.
        parts: (file name, Arrow table) of each.

    Raises:
        DataError: The files have different columns, or there are no rows.
    """
    import pyarrow as pa

    tables = list(parts)
    first_name, first = tables[0]
    for other_name, other in tables[1:]:
        _same_names(first_name, first.column_names, other_name, other.column_names)
    columns = {}
    for column in first.column_names:
        arrays = [table.column(column) for _, table in tables]
        columns[column] = pa.chunked_array(
            [chunk for array in _same_types(column, tables, arrays) for chunk in array.chunks],
            type=_same_types(column, tables, arrays)[0].type,
        )
    frame = Frame(
        name=name, columns=columns, files=tuple((file, table.num_rows) for file, table in tables)
    )
    if not len(frame):
        raise DataError(
            f"{name}: expected at least one row. Received: none.",
            hint="Check the program that wrote the file.",
        )
    return frame


def _same_names(first: str, expected: list[str], other: str, received: list[str]) -> None:
    lacking = [name[:80] for name in expected if name not in set(received)]
    new = [name[:80] for name in received if name not in set(expected)]
    if lacking or new:
        raise DataError(
            f"{other}: expected the columns of {first}. Received: "
            + "; ".join(
                text
                for text in (
                    f"without {lacking[:5]}" if lacking else "",
                    f"with {new[:5]} besides" if new else "",
                )
                if text
            )
            + ".",
            hint="Write all files with the same columns.",
        )


def _same_types(column: str, tables: list[tuple[str, Any]], arrays: list[Any]) -> list[Any]:
    import pyarrow as pa

    types = {str(array.type): array.type for array in arrays if not pa.types.is_null(array.type)}
    if len(types) < 2:
        target = next(iter(types.values()), pa.null())
    elif set(types) <= {"int64", "double"}:
        target = pa.float64()
    else:
        told = [f"{array.type} in {name}" for (name, _), array in zip(tables, arrays, strict=True)]
        raise DataError(
            f"{column[:80]!r}: expected one type in all files. "
            f"Received: {', '.join(sorted(told)[:1] + sorted(told)[-1:])}.",
            hint="Write all files with the same schema.",
        )
    return [array if array.type == target else array.cast(target) for array in arrays]

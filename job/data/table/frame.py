"""Frame: columns of one or several files, which still know file and row."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.data.findings import Finding
from job.data.place import BLOCK_ROWS, MEMORY, Place
from job.errors import DataError

MOST = 1 << 20
"""Different texts of a column that are kept in memory while its codes lie on the disk."""

FIRST = 1000
"""Values that tell whether a column of text is numbers."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A table.

    Attributes:
        name: How messages call it.
        columns: Name → Arrow chunked array of text, perhaps coded in a dictionary, int64, float64,
            bool, null, dates and times, or a type that no model takes; missing values are null.
        files: (name, rows) of each file, in order.
        rows: (n,) the row each came from, counted through the files; None when all are there.
        written: A name as a file has it → the column, where they differ.
        index: Columns that a file calls the index of its rows.
        delimiter: Of its text files.
        findings: What had to be assumed of the files.
    """

    name: str
    columns: Mapping[str, Any]
    files: tuple[tuple[str, int], ...]
    rows: NDArray[np.int64] | None = None
    written: Mapping[str, str] = field(default_factory=dict)
    index: tuple[str, ...] = ()
    delimiter: str = ","
    findings: tuple[Finding, ...] = ()

    def column(self, name: str) -> Any:
        """The values of a column by its name, or by the name as a file has it; None if not there.

        Earlier versions knew columns by names with blanks around them.
        """
        return self.columns.get(name, self.columns.get(self.written.get(name, "")))

    def __len__(self) -> int:
        return sum(count for _, count in self.files) if self.rows is None else len(self.rows)

    def take(self, rows: NDArray[np.int64], place: Place = MEMORY) -> "Frame":
        """Some of the rows, ascending."""
        return replace(
            self,
            columns={
                name: taken(column, rows, place, self.name) for name, column in self.columns.items()
            },
            rows=rows if self.rows is None else self.rows[rows],
        )

    def blocks(self, count: int) -> Iterator["Frame"]:
        """The same rows, so many at a time; at least one block, perhaps without rows."""
        for start in range(0, max(len(self), 1), count):
            stop = min(start + count, len(self))
            yield replace(
                self,
                columns={n: c.slice(start, stop - start) for n, c in self.columns.items()},
                rows=np.arange(start, stop) if self.rows is None else self.rows[start:stop],
            )

    def place(self, row: int) -> str:
        """Where a row came from: its file and its number there."""
        name, number = self.where(row)
        return f"{name}: row {number}"

    def places(self, some: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which file each of some rows came from, and its number there, as `where` does."""
        counts = np.array([count for _, count in self.files])
        ends = np.cumsum(counts)
        rows = np.arange(some.start, some.stop) if self.rows is None else self.rows[some]
        file = np.searchsorted(ends, rows, side="right")
        return file, rows - (ends - counts)[file]

    def where(self, row: int) -> tuple[str, int]:
        """The file that a row came from, and its number there, from 0 and without a header."""
        row = row if self.rows is None else int(self.rows[row])
        for name, count in self.files:
            if row < count:
                return name, row
            row -= count
        return self.name, row

    def bad(self, row: int, column: str, expected: str, received: str, *, hint: str) -> DataError:
        """The error about one value."""
        return DataError(
            f"{self.place(row)} (counting from 0, without a header), column {column[:80]!r}: "
            f"expected {expected}. Received: {received}.",
            hint=hint,
        )


def taken(column: Any, rows: NDArray[np.int64], place: Place, name: str) -> Any:
    """Some values of an Arrow column, ascending, chunk by chunk.

    Args:
        column: An array or a chunked array.
        rows: (n,) ascending.
        place: Where they go.
        name: How messages call the file.
    """
    if not place.streamed:
        return column.take(pa.array(rows))
    return place.column(blocks(column, rows), column.type, name)


def encoded(column: Any, place: Place, name: str) -> Any:
    """A column of text as codes that lie in their place, and its different texts in memory.

    One of more than MOST different texts, or that begins with numbers, stays as it is.
    """
    with contextlib.suppress(pa.ArrowInvalid):
        column.slice(0, FIRST).cast(pa.float64())
        return column
    codes = place.array((len(column),), np.int32, name)
    present = place.array((-(-len(column) // 8),), np.uint8, name)
    at: dict[str, int] = {}
    for i, block in enumerate(blocks(column)):
        own = block.dictionary_encode()
        found = [at.setdefault(text, len(at)) for text in own.dictionary.to_pylist()]
        if len(at) > MOST:
            return column
        local = pc.fill_null(own.indices, len(found)).to_numpy(zero_copy_only=False)
        first = i * BLOCK_ROWS
        codes[first : first + len(block)] = np.array([*found, 0], np.int32)[local]
        bits = np.packbits(local < len(found), bitorder="little")
        present[first // 8 : first // 8 + len(bits)] = bits
    buffers = [pa.py_buffer(present), pa.py_buffer(codes)]
    indices = pa.Array.from_buffers(pa.int32(), len(column), buffers)
    return pa.chunked_array(
        [pa.DictionaryArray.from_arrays(indices, pa.array(list(at), pa.string()))]
    )


def blocks(column: Any, rows: NDArray[np.int64] | None = None) -> Iterator[Any]:
    """The values of `taken`, or all, some at a time: those of about as many neighbouring rows."""
    if rows is None:
        yield from (_whole(column.slice(i, BLOCK_ROWS)) for i in range(0, len(column), BLOCK_ROWS))
        return
    bounds = np.arange(0, len(column) + BLOCK_ROWS, BLOCK_ROWS)
    ends = np.searchsorted(rows, bounds)
    for start, first, last in zip(bounds, ends, ends[1:], strict=False):
        block = _whole(column.slice(int(start), BLOCK_ROWS))
        if last - first < len(block):
            block = block.take(pa.array(rows[first:last] - start))
        yield block


def _whole(block: Any) -> Any:
    """One array of a block that may be in several."""
    if not isinstance(block, pa.ChunkedArray):
        return block
    return block.chunk(0) if block.num_chunks == 1 else block.combine_chunks()


@dataclass(frozen=True, kw_only=True)
class Part:
    """One file of a table.

    Attributes:
        name: How messages call it.
        table: Its columns.
        written: The names of its columns as the file has them.
        index: Columns that it calls the index of its rows.
        delimiter: When it is a text file.
        findings: What had to be assumed of it.
    """

    name: str
    table: Any
    written: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    delimiter: str = ","
    findings: tuple[Finding, ...] = ()


def joined(name: str, parts: Iterable[Part]) -> Frame:
    """One frame of several files; those without rows are left out.

    Args:
        name: How messages call the whole.
        parts: The files.

    Raises:
        DataError: The files have different columns, or there are no rows.
    """
    every = list(parts)
    filled = [part for part in every if part.table.num_rows]
    if not filled:
        raise DataError(
            f"{name}: expected at least one row. Received: none.",
            hint="Check the program that wrote the file.",
        )
    first = filled[0]
    for other in filled[1:]:
        _same_names(first.name, first.table.column_names, other.name, other.table.column_names)
    columns = {}
    for column in first.table.column_names:
        arrays = _same_types(column, filled)
        columns[column] = pa.chunked_array(
            [chunk for array in arrays for chunk in array.chunks], type=arrays[0].type
        )
    names = first.table.column_names
    return Frame(
        name=name,
        columns=columns,
        files=tuple((part.name, part.table.num_rows) for part in filled),
        written={w: n for w, n in zip(first.written, names, strict=False) if w and w != n},
        index=first.index,
        delimiter=first.delimiter,
        findings=tuple(found for part in every for found in part.findings),
    )


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


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _same_types(column: str, parts: list[Part]) -> list[Any]:
    arrays = [part.table.column(column) for part in parts]
    types = {str(array.type): array.type for array in arrays if not pa.types.is_null(array.type)}
    if len(types) > 1 and all(map(_is_text, types.values())):
        target = pa.string()
    elif len(types) < 2:
        target = next(iter(types.values()), pa.null())
    elif set(types) <= {"int64", "double"}:
        target = pa.float64()
    elif all(map(pa.types.is_timestamp, types.values())):
        target = pa.timestamp("us")
    else:
        told = [f"{array.type} in {part.name}" for part, array in zip(parts, arrays, strict=True)]
        raise DataError(
            f"{column[:80]!r}: expected one type in all files. "
            f"Received: {', '.join(sorted(told)[:1] + sorted(told)[-1:])}.",
            hint="Write all files with the same schema.",
        )
    return [array if array.type == target else array.cast(target, safe=False) for array in arrays]

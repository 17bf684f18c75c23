"""pyarrow's record batches as blocks of rows of numbers; its errors stop here."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from job.data.files import opening
from job.errors import DataError

NUMBER_BYTES = 64
"""A number with its separators, and in JSON its key: nothing sensible is longer on average."""

Blocks = Iterator[tuple[int, NDArray[Any]]]
"""The number of the first row, counting from 0 without a header, and (k, width) numbers."""


def blocks(batches: Any, name: str) -> Blocks:
    """Turns record batches of numeric columns into arrays.

    Raises:
        DataError: A value is missing, or there are no rows.
    """
    first = 0
    for batch in batches:
        for column in batch.columns:
            if column.null_count:
                row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise bad_row(name, first + row, "a missing value")
        if batch.num_rows:
            yield first, batch.to_tensor().to_numpy()
        first += batch.num_rows
    if not first:
        raise no_rows(name)


@contextlib.contextmanager
def diagnosed(
    name: str,
    path: Path,
    width: int,
    problem: Callable[[str], str],
    *,
    skip: bool = False,
) -> Iterator[None]:
    """Turns pyarrow's errors about lines of text, which seldom know the row, into ones that do.

    Args:
        name: How messages call the file.
        path: The file; after an error it is read again.
        width: Numbers in a row.
        problem: What is wrong with a line, or an empty text.
        skip: Whether the first line is a header.

    Raises:
        DataError: In place of pyarrow's.
    """
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as exc:
        with opening.opened(path, name) as again:  # pyarrow may still read ahead in the other one
            for row, line in enumerate(lines(opening.unpacked(again), width), start=-int(skip)):
                text = problem(line) if row >= 0 else ""
                if text:
                    raise bad_row(name, row, text) from exc
        raise unreadable(name, exc) from exc


def lines(stream: BinaryIO, width: int) -> Iterator[str]:
    """The lines that are not blank, in pieces if they are longer than any row can be."""
    for line in iter(lambda: stream.readline(row_bytes(width)), b""):
        text = line.decode("utf-8-sig", errors="replace").strip()
        if text:
            yield text


def first_line(stream: BinaryIO, name: str, width: int) -> str:
    """The first of `lines`; the stream is back at its start.

    Raises:
        DataError: There is none.
    """
    line = next(lines(stream, width), None)
    stream.seek(0)
    if line is None:
        raise no_rows(name)
    return line


def row_bytes(width: int) -> int:
    """Bytes that are parsed at once; a row must fit."""
    return max(1 << 20, width * NUMBER_BYTES)


def bad_row(name: str, row: int, received: str) -> DataError:
    """A row that is not the numbers that the model takes."""
    return DataError(
        f"{name}: expected as many numbers in each row as the model takes. "
        f"Received: {received} in row {row} (counting from 0, without a header).",
        hint="Correct the row, or remove it.",
    )


def no_rows(name: str) -> DataError:
    """A file without rows."""
    return DataError(
        f"{name}: expected at least one row. Received: none.",
        hint="Check the program that wrote the file.",
    )


def unreadable(name: str, exc: Exception) -> DataError:
    """What pyarrow could not read."""
    return DataError(
        f"{name}: expected a file of numbers. Received: {' '.join(str(exc).split())[:300]}",
        hint="Write the file again.",
    )

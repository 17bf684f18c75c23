"""Places for a data set's arrays: in memory, or memory-mapped files on the scratch disk."""

import contextlib
import errno
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from job.data import memory
from job.errors import DiskFull
from job.process.cores import cores

SPENT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a disk without room answers."""

Numbers = NDArray[np.int64] | NDArray[np.int32]

BLOCK_ROWS = 1 << 18
"""Rows, a multiple of 8, that are worked on at once where not all of them need be in memory."""


def counts(codes: Numbers, many: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """(many,) how often each code occurs, of some rows or of all; a negative one is none.

    Block by block, since NumPy takes 8 bytes for each code.
    """
    found = np.zeros(many, np.int64)
    for start in range(0, len(codes if rows is None else rows), BLOCK_ROWS):
        some = slice(start, start + BLOCK_ROWS)
        block = codes[some if rows is None else rows[some]]
        found += np.bincount(block[block >= 0], minlength=many)
    return found


def blocks(rows: int) -> Iterator[slice]:
    """Slices of BLOCK_ROWS of so many rows; the last one may have fewer."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def average(values: Callable[[slice], NDArray[Any]], rows: int) -> float:
    """The mean of the values that a function gives for each block of so many rows."""
    total, count = 0.0, 0
    for some in blocks(rows):
        found = values(some)
        total, count = total + found.sum(dtype=np.float64), count + len(found)
    return float(total / count)


def mapped(file: Any) -> Any:
    """The Arrow table of a file, or of its path, memory-mapped."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.py_buffer(np.memmap(file, np.uint8, "r"))).read_all()


class Place(Protocol):
    """Where arrays lie that have an element, or more, for each row."""

    @property
    def streamed(self) -> bool:
        """Whether the arrays may be larger than memory."""
        ...

    @property
    def cache(self) -> Path | None:
        """The folder that keeps the rows of files; None for none."""
        ...

    @property
    def threads(self) -> int:
        """Columns that are worked on at once: each takes some memory for each row."""
        ...

    def array(self, shape: tuple[int, ...], dtype: Any, name: str) -> NDArray[Any]:
        """An array without values; `name` is how messages call the file that asks for it.

        Raises:
            DataError: It is larger than memory.
            DiskFull: It is larger than what is left of the disk.
        """
        ...

    def kept(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """An array that was just made, or a copy of it here."""
        ...

    def taken(self, array: NDArray[Any], rows: Numbers, name: str) -> NDArray[Any]:
        """Some rows of an array; raises as `array`."""
        ...

    def where(self, mask: NDArray[np.bool_], name: str) -> NDArray[np.int64]:
        """As `np.flatnonzero`; raises as `array`."""
        ...

    def table(self, tables: Iterable[Any], name: str) -> Any:
        """One Arrow table of several with the same columns, at least one; raises as `array`."""
        ...

    def column(self, chunks: Iterable[Any], kind: Any, name: str) -> Any:
        """An Arrow column of arrays of one type; raises as `array`."""
        ...


class Memory:
    """Arrays in memory: what is made stays where it is."""

    streamed = False
    cache: Path | None = None

    @property
    def threads(self) -> int:
        """As `Place.threads`: more than the cores would wait for each other's Python."""
        return min(4, cores())

    def array(self, shape: tuple[int, ...], dtype: Any, name: str) -> NDArray[Any]:
        """As `Place.array`."""
        return memory.allocate(shape, np.dtype(dtype), name)

    def kept(self, array: NDArray[Any], name: str) -> NDArray[Any]:  # noqa: ARG002
        """As `Place.kept`."""
        return array

    def taken(
        self,
        array: NDArray[Any],
        rows: Numbers,
        name: str,  # noqa: ARG002
    ) -> NDArray[Any]:
        """As `Place.taken`."""
        return array[rows]

    def where(self, mask: NDArray[np.bool_], name: str) -> NDArray[np.int64]:  # noqa: ARG002
        """As `Place.where`."""
        return np.flatnonzero(mask)

    def table(self, tables: Iterable[Any], name: str) -> Any:  # noqa: ARG002
        """As `Place.table`."""
        import pyarrow as pa

        return pa.concat_tables(list(tables))

    def column(self, chunks: Iterable[Any], kind: Any, name: str) -> Any:  # noqa: ARG002
        """As `Place.column`."""
        import pyarrow as pa

        return pa.chunked_array(list(chunks), kind)


MEMORY = Memory()


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Arrays in files, memory-mapped: the system keeps in memory what it has room for.

    The files have no names any more when they are used, so that the disk is free again however
    the process ends.

    Attributes:
        folder: Where they are made.
        cache: The folder of --cache, which keeps the rows of files; None for none.
        into: The file of the one array or table that is made; None for files without names.
    """

    folder: Path
    cache: Path | None = None
    into: BinaryIO | None = None
    streamed = True
    threads = 2

    def array(self, shape: tuple[int, ...], dtype: Any, name: str) -> NDArray[Any]:
        """As `Place.array`."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not size:
            return np.empty(shape, dtype)
        self.expect_room(size, name)
        with self.full(name), self._file() as file:
            os.posix_fallocate(file.fileno(), 0, size)  # else a full disk ends the process later
            return np.memmap(file, dtype, "r+", shape=shape)

    def kept(self, array: NDArray[Any], name: str) -> NDArray[Any]:
        """As `Place.kept`."""
        found = self.array(array.shape, array.dtype, name)
        found[...] = array
        return found

    def taken(self, array: NDArray[Any], rows: Numbers, name: str) -> NDArray[Any]:
        """As `Place.taken`."""
        found = self.array((len(rows), *array.shape[1:]), array.dtype, name)
        for start in range(0, len(rows), BLOCK_ROWS):
            some = slice(start, start + BLOCK_ROWS)
            found[some] = array[rows[some]]
        return found

    def where(self, mask: NDArray[np.bool_], name: str) -> NDArray[np.int64]:
        """As `Place.where`."""
        found = self.array((int(np.count_nonzero(mask)),), np.int64, name)
        at = 0
        for start in range(0, len(mask), BLOCK_ROWS):
            block = np.flatnonzero(mask[start : start + BLOCK_ROWS])
            found[at : at + len(block)] = block + start
            at += len(block)
        return found

    def table(self, tables: Iterable[Any], name: str) -> Any:
        """As `Place.table`."""
        import pyarrow as pa

        rest = iter(tables)
        first = next(rest)
        with self.full(name), self._file() as opened:
            with pa.ipc.new_file(opened, first.schema) as writer:
                for table in itertools.chain([first], rest):
                    writer.write_table(table)
            opened.flush()
            return mapped(opened)

    def column(self, chunks: Iterable[Any], kind: Any, name: str) -> Any:
        """As `Place.column`."""
        import pyarrow as pa

        schema = pa.schema([("", kind)])
        empty = schema.empty_table()

        def tables() -> Iterator[Any]:
            yield empty
            for chunk in chunks:
                yield pa.Table.from_arrays([chunk], schema=schema)

        return self.table(tables(), name).column(0)

    def expect_room(self, size: int, name: str) -> None:
        """Rejects data that the disk has no room for, before it is written.

        Raises:
            DiskFull: It has not.
        """
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise self._full(name, f"{free / 2**20:,.0f} MiB free, and {size / 2**20:,.0f} needed")

    @contextlib.contextmanager
    def full(self, name: str, folder: Path | None = None) -> Iterator[None]:
        """Maps the errors of a disk without room in the block; the folder is by default its own.

        Raises:
            DiskFull: It has none.
        """
        try:
            yield
        except OSError as exc:
            if exc.errno not in SPENT:
                raise
            raise self._full(name, str(exc.strerror), folder) from exc

    def _file(self) -> contextlib.AbstractContextManager[Any]:
        if self.into is not None:
            self.into.truncate(0)  # of a file that is read again
            self.into.seek(0)
            return contextlib.nullcontext(self.into)
        return tempfile.TemporaryFile(dir=self.folder)

    def _full(self, name: str, received: str, folder: Path | None = None) -> DiskFull:
        return DiskFull(
            f"{name}: expected room for its rows in {folder or self.folder}. Received: {received}.",
            hint="Free some space, or point TMPDIR and --cache to a larger disk; in Kubernetes the "
            "component `scratch` brings one.",
        )


def beside(array: Any) -> Place:
    """The place for arrays with as many rows as this one: on the disk when it lies there."""
    streamed = isinstance(array, np.memmap)
    return Disk(folder=Path(tempfile.gettempdir())) if streamed else MEMORY

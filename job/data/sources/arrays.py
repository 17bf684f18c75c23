"""An array in a file: announced by its header, then read in blocks of rows. NumPy's .npy headers.

Source of the headers: NumPy Enhancement Proposal 1 and `numpy.lib.format`. Nothing is unpickled.
"""

import math
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from job.data.memory import allocate
from job.errors import DataError

BLOCK_BYTES = 1 << 20
"""About what is read at once: it stays in the processor's cache."""

ANEW = "Copy the file again, or write it anew."

PARSERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

MALFORMED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, SyntaxError,
    RecursionError, MemoryError, EOFError, tokenize.TokenError,
)  # fmt: skip
"""What NumPy's parser raises for bad headers."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array whose header was read and whose elements were not yet.

    Attributes:
        name: How messages call it: file and member, as the user knows them.
        stream: Unpacked bytes, positioned at the first element.
        dtype: As in the file, byte order included.
        shape: At least one row and one element in each.
        fortran_order: The first axis varies fastest.
        member: Its name in the file, if that has several.

    Raises:
        DataError: The header announces nothing that could be rows.
    """

    name: str
    stream: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool = False
    member: str = ""

    def __post_init__(self) -> None:
        good = all(1 <= size < 2**63 for size in self.shape) and self.dtype.itemsize >= 1
        if not 1 <= len(self.shape) <= 32 or not good:
            raise DataError(
                f"{self.name}: expected at least one row, with at least one value, and at most 32 "
                f"dimensions. Received: shape {str(self.shape)[:200]}, {str(self.dtype)[:200]}.",
                hint="Save the rows as one array, whose first dimension counts them.",
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, as the header announces them."""
        return math.prod(self.shape) * self.dtype.itemsize

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Reads the rows in order.

        Yields:
            The number of the first row, and (k, *shape[1:]) rows in the file's dtype, about
            1 MiB of them. The next block overwrites them.

        Raises:
            DataError: The stream ends early or goes on after the last row.
        """
        rows = max(1, BLOCK_BYTES * self.shape[0] // self.nbytes)
        if self.fortran_order:  # no row is complete before the last column is read
            whole = allocate(self.shape[::-1], self.dtype, self.name)
            self._fill(whole)
            whole = whole.transpose()
            yield from ((i, whole[i : i + rows]) for i in range(0, len(whole), rows))
        else:
            buffer = allocate((min(rows, self.shape[0]), *self.shape[1:]), self.dtype, self.name)
            for first in range(0, self.shape[0], rows):
                block = buffer[: self.shape[0] - first]
                self._fill(block)
                yield first, block
        if self.stream.read(1):
            raise self._other_size("more bytes")

    def _fill(self, block: NDArray[Any]) -> None:
        left = block.reshape(-1).view(np.uint8).data
        while left:
            count = self.stream.readinto(left[:BLOCK_BYTES])  # type: ignore[attr-defined]
            if not count:
                raise self._other_size("an early end")
            left = left[count:]

    def _other_size(self, received: str) -> DataError:
        return DataError(
            f"{self.name}: expected {self.nbytes} bytes of values, as its header says (shape "
            f"{self.shape}, {self.dtype}). Received: {received}.",
            hint=ANEW,
        )


def announce(stream: BinaryIO, name: str, member: str = "") -> StoredArray:
    """Reads the header of an .npy file.

    Raises:
        DataError: It is none, or holds pickled objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header that Python 2 wrote
            shape, fortran_order, dtype = PARSERS[npy.read_magic(stream)](stream)
    except MALFORMED as exc:
        raise DataError(
            f"{name}: expected an array in NumPy's format, version 1.0 or 2.0. "
            f"Received: {' '.join(str(exc).split())[:200] or type(exc).__name__}.",
            hint="Save the array again with numpy.save or numpy.savez.",
        ) from exc
    if dtype.hasobject:
        raise DataError(
            f"{name}: expected numbers, or strings for labels. Received: Python objects "
            "(pickled), which are not loaded because they can run code.",
            hint="Save the array with another dtype: x.astype('float32'), y.astype(str).",
        )
    return StoredArray(
        name=name,
        stream=stream,
        dtype=dtype,
        shape=shape,
        fortran_order=fortran_order and len(shape) > 1,
        member=member,
    )

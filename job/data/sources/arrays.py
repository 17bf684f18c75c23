"""An array in a file: announced by its header, then read in blocks of rows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from job.data.memory import allocate
from job.errors import DataError

BLOCK_BYTES = 1 << 20
"""About what is read at once: it stays in the processor's cache."""

MAX_DIMENSIONS = 32

DEFLATE_RATIO = 1032
"""Deflate packs no better than this (zlib.net/zlib_tech.html, "Maximum Compression Factor")."""


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array whose header was read and whose elements were not yet.

    Attributes:
        name: How messages call it: file and member, as the user knows them.
        stream: Unpacked bytes, positioned at the first element.
        dtype: As in the file, byte order included.
        shape: At least one row and one element in each.
        fortran_order: The first axis varies fastest.

    Raises:
        DataError: The header announces nothing that could be rows.
    """

    name: str
    stream: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS:
            raise DataError(
                f"{self.name}: expected an array of 1 to {MAX_DIMENSIONS} dimensions. "
                f"Received: {len(self.shape)}.",
                hint="Save the rows as one array, whose first dimension counts them.",
            )
        if not all(1 <= size < 2**63 for size in self.shape) or self.dtype.itemsize < 1:
            raise DataError(
                f"{self.name}: expected at least one row, with at least one value. "
                f"Received: shape {str(self.shape)[:200]}, {str(self.dtype)[:200]}.",
                hint="Check the program that wrote the file.",
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, as the header announces them."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_held(self, held: int) -> None:
        """Compares the header with the bytes that follow it.

        Raises:
            DataError: The file holds fewer or more.
        """
        if held != self.nbytes:
            problem = "truncated" if held < self.nbytes else "followed by other bytes"
            raise DataError(
                f"{self.name}: expected {self.nbytes} bytes of values, as its header says "
                f"(shape {self.shape}, {self.dtype}). Received: {held}; the file is {problem}.",
                hint="Copy the file again, or write it anew.",
            )

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
            self._finish()
            whole = whole.transpose()
            yield from ((i, whole[i : i + rows]) for i in range(0, len(whole), rows))
            return
        buffer = allocate((min(rows, self.shape[0]), *self.shape[1:]), self.dtype, self.name)
        for first in range(0, self.shape[0], rows):
            block = buffer[: self.shape[0] - first]
            self._fill(block)
            yield first, block
        self._finish()

    def _fill(self, block: NDArray[Any]) -> None:
        left = block.reshape(-1).view(np.uint8).data
        while left:
            count = self.stream.readinto(left[:BLOCK_BYTES])  # type: ignore[attr-defined]
            if not count:
                raise DataError(
                    f"{self.name}: expected {self.nbytes} bytes of values, as its header says "
                    f"(shape {self.shape}, {self.dtype}). Received: an early end.",
                    hint="Copy the file again, or write it anew.",
                )
            left = left[count:]

    def _finish(self) -> None:
        if self.stream.read(1):
            raise DataError(
                f"{self.name}: expected the file to end after {self.nbytes} bytes of values, as "
                f"its header says (shape {self.shape}, {self.dtype}). Received: more bytes.",
                hint="Copy the file again, or write it anew.",
            )


def check_packing(name: str, *, packed: int, unpacked: int) -> None:
    """Refuses a size that no packed file could unpack to, before memory is spent on it.

    Args:
        name: How messages call the file.
        packed: Bytes of the packed file.
        unpacked: Bytes that its header announces.

    Raises:
        DataError: The header lies.
    """
    if unpacked > packed * DEFLATE_RATIO:
        raise DataError(
            f"{name}: expected at most {packed * DEFLATE_RATIO} bytes from {packed} packed ones. "
            f"Received: a header that announces {unpacked}.",
            hint="Copy the file again; if it came from others, do not trust it.",
        )

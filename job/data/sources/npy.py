"""NumPy's .npy format, whose header is checked before anything is allocated or read.

Source: NumPy Enhancement Proposal 1 and `numpy.lib.format`. Nothing is ever unpickled.
"""

import io
import tokenize
import warnings
from typing import BinaryIO

from numpy.lib import format as npy

from job.data.sources.arrays import StoredArray
from job.errors import DataError

MAX_HEADER = 10_000
"""Bytes; NumPy's own limit, above which parsing a header is not safe."""

MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    SyntaxError,
    RecursionError,
    MemoryError,
    EOFError,
    tokenize.TokenError,
    Warning,
)
"""What NumPy's parser raises for bad headers."""

PARSERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def announce(stream: BinaryIO, name: str, *, size: int) -> StoredArray:
    """Reads the header.

    Args:
        stream: The bytes of an .npy file.
        name: How messages call it.
        size: How many bytes there are.

    Raises:
        DataError: It is no .npy file, or does not hold what its header announces.
    """
    start = stream.read(len(npy.MAGIC_PREFIX) + 2)
    start += stream.read(2 if start[-2:-1] == b"\1" else 4)
    length = int.from_bytes(start[8:], "little")
    header = io.BytesIO(start + stream.read(min(length, MAX_HEADER)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shape, fortran_order, dtype = PARSERS[npy.read_magic(header)](header, MAX_HEADER)
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
    array = StoredArray(
        name=name,
        stream=stream,
        dtype=dtype,
        shape=shape,
        fortran_order=fortran_order and len(shape) > 1,
    )
    array.check_held(size - header.tell())
    return array

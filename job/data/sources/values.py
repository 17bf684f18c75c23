"""Numbers as the model takes them: uint8 as it is, anything else as finite float32."""

from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from job.data import cache
from job.data.dataset import Inputs
from job.data.files.opening import Source
from job.data.place import MEMORY, Place
from job.data.sources.arrays import StoredArray
from job.errors import DataError

UINT8 = np.dtype(np.uint8)
FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is known of an array besides its elements."""

    dtype: str
    shape: tuple[int, ...]


def read(array: StoredArray, place: Place = MEMORY, source: Source | None = None) -> Inputs:
    """Reads an array of input rows into its place, converting block by block.

    Args:
        array: The array, of which the header was read.
        place: Where the rows go.
        source: The file, where its rows may be kept in --cache.

    Raises:
        StoreError: The disk has no room for it.
        DataError: It holds no numbers, or some that are not finite in float32.
    """
    check_kind(array)
    if len(array.shape) < 2:
        raise DataError(
            f"{array.name}: expected rows of values, so at least two dimensions. "
            f"Received: shape {array.shape}.",
            hint="If each row is one number, save x.reshape(-1, 1).",
        )
    dtype = UINT8 if array.dtype == UINT8 else FLOAT32

    def made(place: Place) -> tuple[Inputs, Form]:
        x: Inputs = place.array(array.shape, dtype, array.name)
        for first, block in array.blocks():
            x[first : first + len(block)] = convert(block, dtype, first=first, name=array.name)
        return x, Form(dtype=dtype.str, shape=array.shape)

    if source is None:
        return made(place)[0]
    content = partial(cache.content, source, array.name)
    how = ("array", array.member)
    return cache.kept(place, content, array.name, how, Form, made, mapped)[0]


def mapped(file: BinaryIO, form: Form) -> Inputs:
    """The array in a file, memory-mapped."""
    found: Inputs = np.memmap(file, form.dtype, "r", shape=form.shape)
    return found


def check_kind(array: StoredArray) -> None:
    """Refuses what is not numeric.

    Raises:
        DataError: The elements are complex, text, dates, records or pickled objects.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{array.name}: expected numbers (integers, floats or booleans). "
            f"Received: {str(array.dtype)[:200]}.",
            hint="Convert the array first, for example with x.astype('float32').",
        )


def convert(block: NDArray[Any], dtype: np.dtype[Any], *, first: int, name: str) -> Inputs:
    """Converts rows to the dtype that a model takes.

    Args:
        block: (k, …), any real numbers.
        dtype: uint8 or float32.
        first: The number of the first row, for messages.
        name: How messages call the file.

    Raises:
        DataError: A value is not finite in float32, or no whole number from 0 to 255 for uint8.
    """
    if block.dtype == dtype == UINT8:
        return block
    with np.errstate(over="ignore", invalid="ignore"):
        converted: Inputs = block.astype(dtype)
        if dtype == UINT8:
            good = (block >= 0) & (block <= 255) & (converted == block)
        else:
            good = np.isfinite(converted)
    if good.all():
        return converted
    at = tuple(int(i) for i in np.argwhere(~good)[0])
    expected = "whole numbers from 0 to 255" if dtype == UINT8 else "finite float32 numbers"
    raise DataError(
        f"{name}: expected {expected}. "
        f"Received: {block[at]} in row {first + at[0]} (counting from 0), position {at[1:]}.",
        hint="Remove the row or replace the value."
        if dtype == FLOAT32
        else "The model was trained on pixels; give it rows in the same form.",
    )

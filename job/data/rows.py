"""rows(uri) → blocks of unlabelled rows for a model to predict, in flat memory."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from job.config import DataOptions
from job.data.dataset import Inputs, Kept, Raw
from job.data.files import opening
from job.data.files.listing import ARRAYS, Found, find, look
from job.data.findings import Finding
from job.data.schema import Schema
from job.data.sources import arrays, idx, imageset, imagetable, npz, numbers, values
from job.data.sources.arrays import StoredArray
from job.data.sources.imageset import ImageSet
from job.errors import DataError, UsageError

READING = DataOptions()

S3_ROOT = re.compile(r"s3[an]?://[^/]*/?")
"""A whole bucket is listed for nobody's slip."""


def rows(
    uri: str,
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    scratch: Path,
    block_rows: int,
) -> Iterator[Inputs]:
    """Streams rows as a model takes them.

    Args:
        uri: IDX images, .npy, .npz (x, x_test or the only array), or a table whose rows hold as
            many numbers as the model's input, in its order; local or s3://.
        shape: Of one row of the model's input; a file may also hold its rows flat.
        dtype: Of the model's input, uint8 or float32.
        scratch: Where a file from S3 is put; the caller removes it.
        block_rows: Rows in each block but the last, which may have fewer.

    Yields:
        (block_rows, *shape) of that dtype.

    Raises:
        DataError: The file is damaged, hostile or empty, or a row does not fit the model.
        UsageError, DataNotFound, AccessDenied, StoreError: As `job.data.load`.
    """
    width, target = int(np.prod(shape)), np.dtype(dtype)
    block, filled = np.empty((block_rows, width), target), 0
    found = None if S3_ROOT.fullmatch(uri) else find(uri, scratch)
    if found is None or not found.single:
        raise UsageError(
            f"Data: expected one file of rows, or a folder of images. Received: {uri!r}.",
            hint="Name the file itself.",
        )
    for first, raw in _raw(found, shape):
        chunk = values.convert(raw, target, first=first, name=uri).reshape(len(raw), width)
        while len(chunk):
            taken = min(len(chunk), block_rows - filled)
            block[filled : filled + taken] = chunk[:taken]
            chunk, filled = chunk[taken:], filled + taken
            if filled == block_rows:
                yield block.reshape(block_rows, *shape)
                block, filled = np.empty((block_rows, width), target), 0
    if filled:
        yield block[:filled].reshape(filled, *shape)


def _raw(found: Found, shape: tuple[int, ...]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(first row, rows) as they stand in the file, numeric, of the right shape."""
    [key], [path], uri = found.keys, found.sources(found.keys), found.uri
    if key.lower().endswith(".npz"):
        with npz.rows(uri, path) as array:
            yield from _blocks(array, shape)
    elif ARRAYS.fullmatch(key):
        announce = arrays.announce if key.lower().endswith(".npy") else idx.announce
        with opening.opened(path, uri) as stream:
            yield from _blocks(announce(opening.unpacked(stream), uri), shape)
    else:
        yield from numbers.blocks(key, path, uri, int(np.prod(shape)))


def table_rows(
    uri: str, schema: Schema, scratch: Path, reading: DataOptions = READING
) -> Iterator[tuple[Raw, Kept, Sequence[Finding]]]:
    """Streams the rows of a table as a published model takes them; see `table.load.rows`."""
    from job.data.table import load as table

    return table.rows(find(uri, scratch), schema, reading)


def images_of(uri: str, scratch: Path, reading: DataOptions = READING) -> ImageSet | None:
    """The images that a URI names, if it names some: files, a folder, or a table of their names.

    Raises:
        UsageError, DataError, DataNotFound, AccessDenied, StoreError: As `rows`.
    """
    if ARRAYS.fullmatch(uri) or S3_ROOT.fullmatch(uri):
        return None
    found = look(uri, scratch)
    if found.images:
        return imageset.without_labels(found)
    return imagetable.opened(found, replace(reading, label=None, group=None))


def _blocks(array: StoredArray, shape: tuple[int, ...]) -> Iterator[tuple[int, NDArray[Any]]]:
    values.check_kind(array)
    if array.shape[1:] not in (shape, (int(np.prod(shape)),)):
        raise DataError(
            f"{array.name}: expected rows of shape {shape}, which is what the model takes. "
            f"Received: {array.shape[1:]} (the whole array is {array.shape}).",
            hint="Bring the rows into the shape that the model was trained on.",
        )
    return array.blocks()

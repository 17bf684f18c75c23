"""IDX files, packed or not: LeCun's format for MNIST, in folders of four.

Source: Y. LeCun, "The MNIST database of handwritten digits" (yann.lecun.com/exdb/mnist), sections
"File formats for the MNIST database" and "The IDX file format": two zero bytes, a byte for the
type, a byte for the number of dimensions, each dimension as a big-endian 32-bit number, and the
elements, big-endian, the last axis varying fastest.
"""

import re
from typing import Any, BinaryIO

import numpy as np

from job.data import labels
from job.data.dataset import Labelled, Part
from job.data.files import opening
from job.data.files.listing import Found
from job.data.place import MEMORY, Place
from job.data.sources import values
from job.data.sources.arrays import StoredArray
from job.errors import DataError, DataNotFound

DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}

NAME = re.compile(r"(train|t10k)-(images[-.]idx[0-9]+|labels[-.]idx1)-[a-z]+(\.gz)?")
"""The canonical names, and their like for other types and numbers of dimensions."""

PREFIX = {"train": "train", "test": "t10k"}


def has_test_rows(found: Found) -> bool:
    """Whether a folder of IDX files holds anything of a test part."""
    return any(NAME.fullmatch(key) and key.startswith(PREFIX["test"]) for key in found.keys)


def read(found: Found, part: Part, place: Place = MEMORY) -> Labelled:
    """Reads one part of a folder of IDX files.

    Args:
        found: The files of the folder.
        part: `train` for train-images… and train-labels…, `test` for t10k-….
        place: Where the rows go.

    Raises:
        DataNotFound: The folder lacks a file.
        DataError: A file is damaged, or not what a classifier learns from.
        AccessDenied: A file may not be read.
        StoreError: S3 or the disk kept failing.
    """
    keys = tuple(_find(found, f"{PREFIX[part]}-{kind}-idx") for kind in ("images", "labels"))
    images, label = found.sources(keys, flying=place.streamed)
    images_name, label_name = found.names(keys)
    with opening.opened(images, images_name) as stream:
        x = values.read(announce(opening.unpacked(stream), images_name), place, images)
    with opening.opened(label, label_name) as stream:
        y = labels.read(announce(opening.unpacked(stream), label_name))
    return Labelled(name=f"{found.uri.rstrip('/')}/{PREFIX[part]}-*", x=x, labels=y)


def announce(stream: BinaryIO, name: str) -> StoredArray:
    """Reads the header of an IDX file.

    Args:
        stream: Its bytes, unpacked.
        name: How messages call it.

    Raises:
        DataError: It is no IDX file.
    """
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
        raise DataError(
            f"{name}: expected an IDX file, which starts with 00 00, a type byte (08, 09, 0b to "
            f"0e) and the number of dimensions. Received: {magic.hex(' ') or 'an empty file'}.",
            hint="Check that the file is what its name says.",
        )
    dimensions = stream.read(4 * magic[3])
    if len(dimensions) < 4 * magic[3]:
        raise DataError(
            f"{name}: expected {magic[3]} dimensions in the header. Received: an early end.",
            hint="Copy the file again.",
        )
    shape = tuple(np.frombuffer(dimensions, ">u4").tolist())
    return StoredArray(name=name, stream=stream, dtype=DTYPES[magic[2]], shape=shape)


def _find(found: Found, start: str) -> str:
    """The key of the file whose name starts so; unpacked before packed."""
    uri, present = found.uri, found.keys
    matching = [
        name
        for name in present
        if NAME.fullmatch(name) and name.replace(".idx", "-idx").startswith(start)
    ]
    different = {name.removesuffix(".gz") for name in matching}
    if len(different) > 1:
        raise DataError(
            f"{uri}: expected one file named {start}…. Received: {', '.join(matching)}.",
            hint="Move the others elsewhere.",
        )
    if not matching:
        canonical = (
            "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, "
            "t10k-labels-idx1-ubyte, each with or without .gz"
        )
        raise DataNotFound(
            f"{uri}: expected a file named {start}… in this folder of IDX files. "
            f"Received: {_some(present)}.",
            hint="Images lie in a folder for each class, as .png or .jpg; a table ends in .csv, "
            f".csv.gz or .parquet; a folder of IDX files holds {canonical}."
            + (" Or name a test set with --test-data." if start.startswith("t10k") else ""),
        )
    return matching[0]


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return (shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "an empty folder"

"""Folders of class folders of PNG or JPEG images → uint8 pixels, through Pillow."""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import hashing, memory
from job.data.dataset import Labelled, Part
from job.data.files import layout, opening
from job.data.files.listing import IMAGE, Found
from job.data.reading import Reading
from job.errors import DataError, UsageError

MAX_PIXELS = 1 << 25
"""Of one image: a camera's photograph; more is an image bomb."""

MAX_BYTES = 1 << 28

GREY, COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
"""Pillow's modes that are read, as one channel and as three."""

ORIENTATION, TURNED = 0x0112, {5, 6, 7, 8}
"""The EXIF tag, and its values that swap height and width."""

ANEW = "Copy the image again, save it anew as PNG, or remove it."
SMALLER = "Make the image smaller, or remove it."
SHALLOWER = "Save it with 8 bits (ImageMagick: convert OLD.png -depth 8 NEW.png), or remove it."

DECODERS = 4


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image file announces: height and width as shown, grey or colour; and its hash."""

    size: tuple[int, int]
    grey: bool
    hash: np.uint64


def are_images(found: Found) -> bool:
    """Whether files are images, in formats that are read or not."""
    kinds = (IMAGE, layout.OTHER_IMAGE)
    return any(kind.fullmatch(key) for key in found.keys for kind in kinds)


def read(
    part: Part,
    *,
    found: Found,
    reading: Reading,
    whole: bool,
    shape: tuple[int, ...] | None = None,
) -> Labelled:
    """Reads images, each labelled with the folder that it lies in.

    A root that has nothing but the folders train and test holds the parts there. Else the test
    part is held out by a hash of each file.

    Args:
        part: train or test.
        found: The files.
        reading: test_split and image_size are read.
        whole: All images belong to the part.
        shape: What each image must become: (height, width), or (height, width, 3) for colour; by
            default what they are, colour if one of them is.

    Raises:
        UsageError: Several folders.
        DataError: No class folders, a damaged or huge image, or images of several sizes.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    if found.several:
        raise UsageError(
            f"Data: expected one folder of class folders with images. Received: {found.uri!r}.",
            hint="Put the images into one folder.",
        )
    keys, classes, parted = layout.labelled_images(found, part)
    paths, names = found.fetch(keys), found.names(keys)
    headers = _each(_header, paths, names)
    chosen = np.ones(len(keys), np.bool_)
    if not parted and not whole:
        out = hashing.held_out(np.array([h.hash for h in headers]), reading.test_split)
        chosen = out if part == "test" else ~out
    indices = np.flatnonzero(chosen)
    rows = indices.tolist()
    if not rows:
        raise DataError(
            f"{found.uri}: expected images to {part} on. Received: none of {len(keys)}.",
            hint="Give more images, another --test-split, or a --test-data of your own.",
        )
    if shape is None:
        shape = _shape(headers, names, reading)
    x = pixels([paths[i] for i in rows], [names[i] for i in rows], shape, reading.image_size)
    names_of_classes = np.array([classes[i] for i in rows])
    if parted or whole:
        return Labelled(name=found.uri, x=x, labels=names_of_classes)
    return Labelled(name=found.uri, x=x, labels=names_of_classes, rows=indices, of=len(keys))


def pixels(
    paths: Sequence[Path],
    names: Sequence[str],
    shape: tuple[int, ...],
    image_size: tuple[int, ...],
) -> NDArray[np.uint8]:
    """Decodes images.

    Args:
        paths: Their files.
        names: How messages call them.
        shape: (height, width) for grey levels, or (height, width, 3).
        image_size: Not empty when images of other sizes are to be resized.

    Returns:
        (n, *shape).

    Raises:
        DataError: A damaged image, or one of another size.
    """
    x = memory.allocate((len(paths), *shape), np.dtype(np.uint8), str(names[0]))

    def one(row: int) -> None:
        x[row] = _decoded(paths[row], names[row], shape, resize=bool(image_size))

    with ThreadPoolExecutor(DECODERS) as pool:
        list(pool.map(one, range(len(paths))))
    return x


def _each(function: Any, paths: Sequence[Path], names: Sequence[str]) -> list[Header]:
    with ThreadPoolExecutor(DECODERS) as pool:
        return list(pool.map(function, paths, names))


def _shape(headers: list[Header], names: Sequence[str], reading: Reading) -> tuple[int, ...]:
    grey = all(header.grey for header in headers)
    size = reading.image_size or headers[0].size
    if not reading.image_size:
        odd = next((i for i, h in enumerate(headers) if h.size != size), None)
        if odd is not None:
            raise _other_size(names[odd], size, headers[odd].size)
    height, width = size
    return (height, width) if grey else (height, width, 3)


def _header(path: Path, name: str) -> Header:
    with _opened(path, name) as (image, body):
        return Header(
            size=_size(image),
            grey=image.mode in GREY,
            hash=hashing.contents([body])[0],
        )


def _decoded(path: Path, name: str, shape: tuple[int, ...], *, resize: bool) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with _opened(path, name) as (image, body):
        if not resize and _size(image) != shape[:2]:
            raise _other_size(name, shape[:2], _size(image))
        with Image.open(io.BytesIO(body), formats=("PNG", "JPEG")) as twin:
            twin.verify()  # of a PNG the checksums, to its end; decoding stops before
        shown = ImageOps.exif_transpose(image)
        shown = shown.convert("RGB" if len(shape) == 3 else "L")
        if shown.size != (shape[1], shape[0]):
            shown = shown.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        return np.asarray(shown)


def _size(image: Any) -> tuple[int, int]:
    """(height, width) as shown."""
    width, height = image.size
    turned = image.getexif().get(ORIENTATION) in TURNED
    return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[Any, bytes]]:
    """An image whose header was read, and the file's bytes; Pillow's errors stop here."""
    from PIL import Image, UnidentifiedImageError

    with opening.opened(path, name) as stream:
        size = opening.size(stream)
        if size > MAX_BYTES:
            raise _bad(name, f"{size:,} bytes", f"at most {MAX_BYTES:,} bytes", SMALLER)
        body = stream.read()
    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, with an error of our own
    try:
        with Image.open(io.BytesIO(body), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                told = f"{image.width:,} × {image.height:,} pixels"
                raise _bad(name, told, f"at most {MAX_PIXELS:,} pixels", SMALLER)
            if image.mode not in GREY | COLOUR:
                told = f"the mode {image.mode}"
                raise _bad(name, told, "8 bits of grey or of each colour", SHALLOWER)
            yield image, body
    except UnidentifiedImageError as exc:
        raise _bad(name, "something else", "a PNG or JPEG image") from exc
    except (
        OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError,
        EOFError, RuntimeError, zlib.error, struct.error,
    ) as exc:  # fmt: skip
        received = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise _bad(name, received, "an undamaged image") from exc


def _bad(name: str, received: str, expected: str, hint: str = ANEW) -> DataError:
    return DataError(f"{name}: expected {expected}. Received: {received}.", hint=hint)


def _other_size(name: str, size: Sequence[int], received: Sequence[int]) -> DataError:
    return DataError(
        f"{name}: expected {size[0]} × {size[1]} pixels (height × width), as the others. "
        f"Received: {received[0]} × {received[1]}.",
        hint=f"Resize them all with --image-size '{size[0]} {size[1]}'.",
    )

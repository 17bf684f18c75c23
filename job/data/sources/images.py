"""Images (PNG, JPEG, WebP, BMP, GIF, TIFF and more) → uint8 pixels, through Pillow."""

import contextlib
import hashlib
import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from job.data import cache, hashing
from job.data.files import opening
from job.data.files.opening import Source
from job.data.files.ranges import Remote
from job.data.place import MEMORY, Place
from job.errors import DataNotFound

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Pillow's formats that are read, whatever a file's name ends in; of several frames the first."""

MAX_PIXELS = 1 << 26
"""Of one image; no camera in common use takes more, an image bomb does."""

MAX_BYTES = 1 << 28

DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
FLOAT = "F"
GREY = {"1", "L", "LA", FLOAT, *DEEP}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
"""Pillow's modes that are read: with 16 bits, with fractions, as one channel and as three."""

ORIENTATION, TURNED = 0x0112, {5, 6, 7, 8}
"""The EXIF tag, and its values that swap height and width."""

COMMON = (64, 64)
"""The size that images of many sizes are resized to."""

DECODERS, REQUESTS = 4, 16
"""Images that are decoded at once, and that come from S3 at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Damaged(Exception):
    """An image that cannot be read; its text says why. Callers count them."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What an image file announces: height and width as shown, grey or colour; and its hash."""

    size: tuple[int, int]
    grey: bool
    hash: np.uint64


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Decoded images.

    Attributes:
        x: (n, *shape) of those that could be read, in their order.
        damaged: Why others could not: position among all → reason.
        resized: How many had another size.
    """

    x: NDArray[np.uint8]
    damaged: dict[int, Damaged]
    resized: int


def headers(paths: Sequence[Source], names: Sequence[str]) -> list[Header | Damaged]:
    """The header of each image, or why it cannot be read.

    Args:
        paths: Their files.
        names: How messages call them.

    Raises:
        AccessDenied, StoreError: As `opening.opened`.
    """
    return _each(_header, list(zip(paths, names, strict=True)), _threads(paths))


def shape_of(known: Sequence[Header], size: tuple[int, ...]) -> tuple[int, ...]:
    """What images are brought to: (height, width), or (height, width, 3) if one has colours.

    Args:
        known: Their headers, at least one.
        size: Height and width; when empty, those that more than half of the images have, else
            `COMMON`, which stays the same when images are added.
    """
    if not size:
        common, count = Counter(header.size for header in known).most_common(1)[0]
        size = common if 2 * count > len(known) else COMMON
    return size if all(header.grey for header in known) else (*size, 3)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What is known of decoded images besides their pixels; see `Pixels`."""

    shape: tuple[int, ...]
    damaged: tuple[tuple[int, str], ...]
    resized: int


def pixels(
    paths: Sequence[Source],
    names: Sequence[str],
    shape: tuple[int, ...],
    place: Place = MEMORY,
    hashes: NDArray[np.uint64] | None = None,
) -> Pixels:
    """Decodes images and resizes those of another size.

    Args:
        paths: Their files.
        names: How messages call them.
        shape: (height, width) for grey levels, or (height, width, 3).
        place: Where they go.
        hashes: Of their headers, where the pixels may be kept in --cache.

    Raises:
        DataError: They do not fit into memory.
        AccessDenied, StoreError: As `opening.opened`; the disk has no room for them.
    """

    def made(place: Place) -> tuple[NDArray[np.uint8], Decoded]:
        x = place.array((len(paths), *shape), np.uint8, str(names[0]))

        def one(row: int) -> bool:
            x[row], resized = _decoded(paths[row], names[row], shape)
            return resized

        results = _each(one, list(range(len(paths))), _threads(paths))
        damaged = {row: str(done) for row, done in enumerate(results) if isinstance(done, Damaged)}
        kept = [row for row in range(len(x)) if row not in damaged]
        for to, row in enumerate(kept):
            if to != row:
                x[to] = x[row]
        x = x[: len(kept)]
        return x, Decoded(
            shape=x.shape, damaged=tuple(damaged.items()), resized=results.count(True)
        )

    def mapped(file: BinaryIO, known: Decoded) -> NDArray[np.uint8]:
        return np.memmap(file, np.uint8, "r", shape=known.shape)

    if hashes is None:
        x, known = made(place)
    else:
        content = hashlib.sha256(hashes.tobytes()).hexdigest
        how = ("pixels", shape)
        x, known = cache.kept(place, content, str(names[0]), how, Decoded, made, mapped)
    damaged = {row: Damaged(why) for row, why in known.damaged}
    return Pixels(x=x, damaged=damaged, resized=known.resized)


def _threads(paths: Sequence[Source]) -> int:
    return REQUESTS if any(isinstance(path, Remote) for path in paths) else DECODERS


def _each(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> list[Result | Damaged]:
    def caught(item: Item) -> Result | Damaged:
        try:
            return function(item)
        except Damaged as exc:
            return exc
        except DataNotFound:
            return Damaged("no such file")

    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", module="PIL")  # what matters is an error
        return list(pool.map(caught, items))


def _header(file: tuple[Source, str]) -> Header:
    with _opened(*file) as (image, body):
        return Header(size=_size(image), grey=image.mode in GREY, hash=hashing.contents([body])[0])


def _decoded(path: Source, name: str, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], bool]:
    """The pixels, and whether they were resized."""
    from PIL import Image, ImageOps

    with _opened(path, name) as (image, body):
        if image.format == "PNG":
            with Image.open(io.BytesIO(body), formats=("PNG",)) as twin:
                twin.verify()  # the checksums, to its end; decoding stops before
        shown = ImageOps.exif_transpose(image)
        if image.mode in DEEP:
            shown = Image.fromarray((np.asarray(shown) >> 8).astype(np.uint8))
        elif image.mode == FLOAT:
            shown = Image.fromarray(_in_bytes(np.asarray(shown)))
        shown = shown.convert("RGB" if len(shape) == 3 else "L")
        other = shown.size != (shape[1], shape[0])
        if other:
            shown = shown.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        return np.asarray(shown), other


def _in_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels from 0 for black to 1 for white, as whole numbers to 255."""
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # NaN, too
        raise Damaged(f"floating-point pixels from {low:g} to {high:g} in place of 0 to 1")
    return np.rint(pixels * 255).astype(np.uint8)


def _size(image: Any) -> tuple[int, int]:
    """(height, width) as shown."""
    width, height = image.size
    # Pillow turns a TIFF by itself.
    turned = image.format != "TIFF" and image.getexif().get(ORIENTATION) in TURNED
    return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(path: Source, name: str) -> Iterator[tuple[Any, bytes]]:
    """An image whose header was read, and the file's bytes; Pillow's errors stop here."""
    from PIL import Image, UnidentifiedImageError

    with opening.opened(path, name) as stream:
        size = opening.size(stream)
        if size > MAX_BYTES:
            raise Damaged(f"{size:,} bytes in place of at most {MAX_BYTES:,}")
        body = stream.read()
    Image.MAX_IMAGE_PIXELS = None  # the size is checked here, with an error of our own
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Damaged(
                    f"{image.width:,} × {image.height:,} pixels in place of at most {MAX_PIXELS:,}"
                )
            wide = image.mode == "I" and image.format != "PPM"  # whose "I" has 16 bits
            if wide or image.mode not in GREY | COLOUR:
                raise Damaged(f"pixels of the mode {image.mode} in place of 8 or 16 bits")
            yield image, body
    except UnidentifiedImageError as exc:
        raise Damaged("no image in a format that is read" if body else "an empty file") from exc
    except (
        OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError,
        EOFError, RuntimeError, zlib.error, struct.error,
    ) as exc:  # fmt: skip
        raise Damaged(" ".join(str(exc).split())[:200] or type(exc).__name__) from exc

"""Labelled images: folders of classes, or a table of file names and labels."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import DataOptions
from job.data import hashing
from job.data.dataset import Kept, Labelled, Part
from job.data.files import layout
from job.data.files.listing import File, Found, fetch
from job.data.files.opening import Source
from job.data.findings import FEW, Finding
from job.data.place import MEMORY, Place
from job.data.sources import images
from job.data.sources.images import Damaged, Header
from job.errors import DataError, UsageError

BOUND = 0.1
"""Share of the images that may be damaged when --allow accepts damaged ones."""

BLOCK_IMAGES, BLOCK_BYTES = 8192, 1 << 28
"""Images to predict that are decoded at once, and the bytes of their pixels."""

SHOWN = 10
"""Damaged images that a message names."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images whose files are known and not read yet.

    Attributes:
        uri: As the user wrote it.
        files: (n,) one for each image.
        labels: (n,) text or whole numbers; empty for images to predict.
        scratch: Where files from S3 go.
        parts: (n,) train or test; None when nothing says so.
        groups: (n,) hashes of what stays on one side of the split, 0 for none; None without one.
        findings: What was assumed.
        kept: What predictions carry besides the names of the files, (n,) each.
    """

    uri: str
    files: tuple[File, ...]
    labels: NDArray[Any]
    scratch: Path
    parts: NDArray[np.str_] | None = None
    groups: hashing.Hashes | None = None
    findings: tuple[Finding, ...] = ()
    kept: Kept = field(default_factory=dict)

    def carried(self, rows: NDArray[np.int64]) -> Kept:
        """What predictions carry of some images: the names of their files, and `kept`."""
        # A name that is no text is shown as well as can be.
        names = [os.fsencode(self.files[i].name).decode(errors="replace") for i in rows.tolist()]
        of_table = {name: values.take(rows) for name, values in self.kept.items()}
        return {"file": np.array(names, object), **of_table}


def in_folders(found: Found) -> ImageSet:
    """Images labelled with the folder that they lie in.

    A root that has nothing but the folders train and test holds the parts there.

    Raises:
        UsageError: Several roots.
        DataError: No class folders.
    """
    if found.several:
        raise UsageError(
            f"Data: expected one folder of class folders with images. Received: {found.uri!r}.",
            hint="Put the images into one folder.",
        )
    classes, parted, findings = layout.class_folders(found)
    keys = found.images
    return ImageSet(
        uri=found.uri,
        files=tuple(found.files[key] for key in keys),
        labels=np.array(classes),
        scratch=found.scratch,
        parts=np.array([key.partition("/")[0] for key in keys]) if parted else None,
        findings=tuple(findings),
    )


def read(
    source: ImageSet,
    *parts: Part,
    reading: DataOptions,
    whole: bool = False,
    shape: tuple[int, ...] | None = None,
    place: Place = MEMORY,
) -> list[Labelled]:
    """Reads parts of a set of images.

    Args:
        source: The images.
        parts: train, test or both.
        reading: Its test_split, image_size and allow count.
        whole: All images belong to the part. Else a hash of each file, or of its group, holds the
            test images out, unless they lie in folders of their own.
        shape: What each image becomes, (height, width) or (height, width, 3). By default
            --image-size or `images.common_size`, with colours if one image has them.
        place: Where the pixels go.

    Returns:
        The rows of each part, (n, *shape) uint8; the first has the findings.

    Raises:
        DataError: Damaged images, unless --allow accepts a few, or a part without images.
        AccessDenied, StoreError: A file cannot be read.
    """
    rows = np.arange(len(source.files))
    if source.parts is not None and not whole:
        rows = np.flatnonzero(np.isin(source.parts, parts))
    files = [source.files[i] for i in rows.tolist()]
    names = [file.name for file in files]
    if place.streamed and not place.cache:
        paths = [file.source() for file in files]
    else:
        paths = [*fetch(files, source.scratch)]
    headers = images.headers(paths, names)
    bad = {i: header for i, header in enumerate(headers) if isinstance(header, Damaged)}
    if len(bad) == len(files):
        raise damaged(source.uri, _told(bad, names), len(files), optional=True)
    sides = _sides(source, rows, headers, reading.test_split, parts[0] if whole else "")
    hashed = not whole and source.parts is None
    known = [
        header
        for header, side in zip(headers, sides.tolist(), strict=True)
        if isinstance(header, Header) and (hashed or side == parts[0])
    ]
    shape = shape or images.shape_of(known, reading.image_size)
    done, resized = [], 0
    for part in parts:
        chosen = np.flatnonzero(sides == part)
        at = chosen.tolist()
        if not at:
            raise DataError(
                f"{source.uri}: expected images to {part} on. Received: none of {len(files)}.",
                hint="Give more images, another --test-split, or a --test-data of your own.",
            )
        decoded = images.pixels(
            [paths[i] for i in at],
            [names[i] for i in at],
            shape,
            place,
            np.array([h.hash for i in at if isinstance(h := headers[i], Header)], np.uint64),
        )
        bad |= {at[row]: why for row, why in decoded.damaged.items()}
        resized += decoded.resized
        done.append((decoded.x, np.delete(chosen, list(decoded.damaged))))
    findings = list(source.findings)
    if bad:
        if "damaged" not in reading.allow or len(bad) > BOUND * len(files):
            raise damaged(source.uri, _told(bad, names), len(files), optional=True)
        some = tuple(names[i][-60:] for i in sorted(bad))[:FEW]
        findings.append(Finding(code="damaged", count=len(bad), of=len(files), values=some))
    if resized and not reading.image_size:
        findings.append(_resized(resized, sum(len(x) for x, _ in done), shape))
    return [
        Labelled(
            name=source.uri,
            x=x,
            labels=source.labels[rows[kept]],
            of=len(files) if hashed else None,
            findings=tuple(findings if x is done[0][0] else ()),
            kept=source.carried(rows[kept]),
            again=partial(_again, [paths[i] for i in kept], [names[i] for i in kept], place),
        )
        for x, kept in done
    ]


def _again(
    paths: Sequence[Source], names: Sequence[str], place: Place, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    return images.pixels(paths, names, shape, place).x


def without_labels(found: Found) -> ImageSet:
    """Images to predict."""
    files = tuple(found.files[key] for key in found.images)
    return ImageSet(uri=found.uri, files=files, labels=np.array([]), scratch=found.scratch)


def unlabelled(
    source: ImageSet, *, shape: tuple[int, ...], reading: DataOptions
) -> Iterator[tuple[NDArray[np.uint8], Kept, tuple[Finding, ...]]]:
    """Streams images to predict.

    Args:
        source: The images.
        shape: What the model takes, (height, width) or (height, width, 3).
        reading: The options of the model's training: its image_size and allow count.

    Yields:
        (n, *shape), what predictions carry, and what was assumed.

    Raises:
        DataError: The model takes no images, or some are damaged and training allowed none: all
            are counted before.
        AccessDenied, StoreError: A file cannot be read.
    """
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)):
        raise DataError(
            f"{source.uri}: expected rows of shape {shape}, which is what the model takes. "
            "Received: images.",
            hint="Give the model what it was trained on.",
        )
    bad: list[str] = []
    count = max(1, min(BLOCK_IMAGES, BLOCK_BYTES // math.prod(shape)))
    for first in range(0, len(source.files), count):
        files = source.files[first : first + count]
        names = [file.name for file in files]
        decoded = images.pixels([file.source() for file in files], names, shape)
        bad += _told(decoded.damaged, names)
        if bad and "damaged" not in reading.allow:
            continue  # nothing will be written: only the rest is counted
        findings = []
        if decoded.damaged:
            some = tuple(names[row][-60:] for row in decoded.damaged)[:FEW]
            counts = len(decoded.damaged), len(names)
            findings.append(Finding(code="damaged", count=counts[0], of=counts[1], values=some))
        if decoded.resized and not reading.image_size:
            findings.append(_resized(decoded.resized, len(names), shape))
        kept = first + np.delete(np.arange(len(names)), list(decoded.damaged))
        yield decoded.x, source.carried(kept), tuple(findings)
    if bad and ("damaged" not in reading.allow or len(bad) > BOUND * len(source.files)):
        raise damaged(source.uri, bad, len(source.files))


def _resized(count: int, of: int, shape: tuple[int, ...]) -> Finding:
    size = f"{shape[0]} × {shape[1]}"
    return Finding(code="resized", count=count, of=of, values=(size,))


def damaged(uri: str, told: Sequence[str], of: int, *, optional: bool = False) -> DataError:
    """The error about images that cannot be read.

    Args:
        uri: Where they lie.
        told: Each of them with its reason.
        of: Images that there are.
        optional: Whether the command has the option --allow.
    """
    more = f" and {len(told) - SHOWN:,} more" if len(told) > SHOWN else ""
    hint = "Copy them again, save them as PNG or JPEG, or remove them"
    if optional:
        hint += f"; `--allow damaged` leaves out at most {BOUND:.0%} of the images"
    return DataError(
        f"{uri}: expected images that can be read. Received: {len(told):,} of {of:,} that cannot: "
        f"{', '.join(told[:SHOWN])}{more}.",
        hint=f"{hint}.",
    )


def _told(bad: Mapping[int, Damaged], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{names[i][-200:]} ({bad[i]})" for i in sorted(bad))


def _sides(
    source: ImageSet,
    rows: NDArray[np.int64],
    headers: Sequence[Header | Damaged],
    share: float,
    whole: str,
) -> NDArray[np.str_]:
    """(n,) the part of each image: train, test, or nothing for a damaged one."""
    good = np.array([isinstance(header, Header) for header in headers])
    if whole:
        return np.where(good, whole, "")
    if source.parts is not None:
        return np.where(good, source.parts[rows], "")
    hashes = np.array([h.hash if isinstance(h, Header) else 0 for h in headers], np.uint64)
    if source.groups is not None:
        groups = source.groups[rows]
        hashes = np.where(groups == 0, hashes, groups)
    return np.where(good, np.where(hashing.held_out(hashes, share), "test", "train"), "")

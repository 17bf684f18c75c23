"""A table of image files and their labels: which column names the files, and where they lie."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import DataOptions
from job.data import hashing
from job.data.files import opening
from job.data.files.listing import IMAGE, WILD, File, Found, look
from job.data.findings import FEW, Finding
from job.data.sources.imageset import ImageSet
from job.errors import DataError, DataNotFound, UsageError

SHARE = 0.9
"""Share of a column's values that must end like image files."""

SAMPLE_BYTES, SAMPLE_ROWS = 1 << 16, 200
"""What is looked at of a table before it is read for images."""

NAME = re.compile(rb"(?i)\.(png|jpe?g|jpe|jfif|webp|bmp|dib|gif|tiff?|p[bgpn]m|avif|heic)\b")

BINARY = re.compile(r"(?i).*\.(parquet|pq|feather|arrow)(\.\w+)?")
"""Tables whose names of files cannot be seen among their bytes."""

WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")


def opened(found: Found, reading: DataOptions) -> ImageSet | None:
    """The images that a table names; None when it is another table.

    Args:
        found: The table's files.
        reading: label and group name columns; without a label there are no labels. Columns that
            exclude or columns leave out name no images.

    Raises:
        UsageError: There is no such column.
        DataError: The table is damaged, or none of the images that it names lies beside it.
        DataNotFound, AccessDenied, StoreError: As `reader.read`.
    """
    if not _may_name_images(found, reading):
        return None
    from job.data.table import reader

    with reader.arrow_errors(found.uri):
        frame = reader.read(found, reading.dialect, reading.named())
        column = _column(frame.columns, reading)
        if column is None:
            return None
        paths = _texts(frame.columns[column])
        labels = _texts(_expect(frame.columns, reading.label, "label"))
        groups = _groups(_expect(frame.columns, reading.group, "group"), reading.group)
        kept = {
            name: _expect(frame.columns, name, "keep")
            for name in reading.trimmed().keep
            if reading.label is not None or name in frame.columns  # rows to predict may lack it
        }
    rows = [i for i, path in enumerate(paths) if path and (not labels or labels[i])]
    findings = list(frame.findings)
    used = (column, reading.label, reading.group, *kept)
    others = [name for name in frame.columns if name not in used]
    if others:
        findings.append(Finding(code="only-images", column=column, values=tuple(others[:FEW])))
    if len(rows) < len(paths):
        count = len(paths) - len(rows)
        findings.append(Finding(code="unlabelled-rows", count=count, of=len(paths)))
    return ImageSet(
        uri=found.uri,
        files=_files([paths[i] for i in rows], found),
        labels=_classes([labels[i] for i in rows]) if labels else np.array([]),
        scratch=found.scratch,
        groups=None if groups is None else groups[rows],
        kept={name: values.take(rows) for name, values in kept.items()},
        findings=tuple(findings),
    )


def version(file: File, *, contents: bool) -> tuple[str, int, str]:
    """The last part of an image's name, its bytes, and its version; see `Found.identity`."""
    name = file.name.rpartition("/")[2]
    try:
        return name, file.size(), file.version() if contents else file.stamp()
    except DataNotFound:
        return name, -1, ""


def _may_name_images(found: Found, reading: DataOptions) -> bool:
    """Looks at the first rows only, since most tables name no images."""
    key = next((key for key in found.tables if found.files[key].size()), "")
    if not key or key.lower().endswith(".xlsx"):
        return False
    [path], name = found.sources([key]), found.name(key)
    if BINARY.fullmatch(key):
        from job.data.table import reader

        with reader.arrow_errors(name):
            first = reader.texts(key, path, name, SAMPLE_ROWS)
            columns = dict(zip(first.column_names, first.columns, strict=True))
            return _column(columns, reading) is not None
    with opening.opened(path, name) as stream:
        lines = opening.unpacked(stream, name).read(SAMPLE_BYTES).splitlines()
    return 2 * sum(bool(NAME.search(line)) for line in lines) >= len(lines) > 0


def _column(columns: Mapping[str, Any], reading: DataOptions) -> str | None:
    """The first column of text that names images."""
    from job.data.table import kinds

    for name, array in columns.items():
        left_out = name in reading.exclude or (reading.columns and name not in reading.columns)
        if left_out or name in (reading.label, reading.group) or not kinds.is_text(array.type):
            continue
        texts = [text for text in _texts(array) if text]
        if texts and sum(bool(IMAGE.fullmatch(t)) for t in texts) >= SHARE * len(texts):
            return name
    return None


def _texts(array: Any) -> list[str]:
    """The values of a column as text without blanks around it; empty for missing ones."""
    import pyarrow as pa

    return ["" if v is None else str(v).strip() for v in array.cast(pa.string()).to_pylist()]


def _expect(columns: Mapping[str, Any], name: str | None, option: str) -> Any:
    import pyarrow as pa

    if name is None:
        return pa.array([], pa.string())
    if name not in columns:
        some = ", ".join(repr(other[:40]) for other in list(columns)[:12])
        raise UsageError(
            f"--{option}: expected a column of the table. Received: {name!r}; there are {some}.",
            hint=f"Name one of them in --{option}.",
        )
    return columns[name]


def _groups(array: Any, name: str | None) -> hashing.Hashes | None:
    if name is None:
        return None
    values = hashing.column(name, array)
    return np.where(values == 0, np.uint64(0), hashing.mixed(values))


def _classes(labels: Sequence[str]) -> NDArray[Any]:
    """Labels as whole numbers if all are, else as text."""
    return np.array([int(t) for t in labels] if all(map(WHOLE.fullmatch, labels)) else labels)


def _files(values: Sequence[str], found: Found) -> tuple[File, ...]:
    """The image files that a table names, beside it, in a folder beside it or further below.

    A name counts by as many of its last parts as are needed to find one file. One that is not there
    gets a path where nothing lies.
    """
    names = [value.replace("\\", "/") for value in values]
    folder = found.uri.rstrip("/")
    if found.single or found.several or (WILD.search(folder) and not Path(folder).exists()):
        folder = found.name(found.tables[0]).rpartition("/")[0]
    if "://" not in folder:
        base = Path(folder)
        below = sorted(path for path in base.iterdir() if path.is_dir())
        for place in (base, *below):
            if names and (place / names[0]).is_file():
                paths = [place / name for name in names]
                return tuple(File(name=str(path), path=path) for path in paths)
    beside = look(folder or ".", found.scratch)
    known: dict[str, list[str]] = {}
    for key in beside.images:
        known.setdefault(key.rpartition("/")[2], []).append(key)
    files = [_best(name, known, beside) for name in names]
    if not any(files):
        raise DataError(
            f"{found.uri}: expected the image files that it names in its folder or below. "
            f"Received: none of {len(names):,}, as {names[0][:200] if names else 'no name'}.",
            hint="Put the table into the folder of the images, or above it.",
        )
    lost = (Path(folder, name) for name in names)
    return tuple(
        file or File(name=str(path), path=path) for file, path in zip(files, lost, strict=True)
    )


def _best(name: str, known: Mapping[str, Sequence[str]], beside: Found) -> File | None:
    """The one file that shares most of its last parts with a name."""

    def shared(key: str) -> int:
        pairs = zip(reversed(name.split("/")), reversed(key.split("/")), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    keys = known.get(name.rpartition("/")[2], [])
    most = max(map(shared, keys), default=0)
    best = [key for key in keys if shared(key) == most]
    return beside.files[best[0]] if len(best) == 1 else None

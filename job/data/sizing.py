"""The size of a data set before it is read, and whether its rows go to memory or to the disk."""

import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from job.config import DataOptions
from job.data import memory
from job.data.files import opening
from job.data.files.listing import File, Found, is_table
from job.data.files.opening import Source
from job.data.place import MEMORY, Disk, Place
from job.errors import AccessDenied, DataError, DataNotFound

SHARE = 0.6
"""Of the memory that there is, for reading; the rest is for the libraries and for training."""

PER_VALUE, PER_TEXT, KEPT = 25, 5, 12
"""Of a Parquet file: bytes of memory for a value, and for an unpacked byte where that is more, and
bytes on the disk for a value at least."""

PER_BYTE = {"table": 6, "packed table": 30, "array": 2, "packed array": 10}
"""Bytes of memory for a byte of another file; of what is packed by experience."""

PACKED_TABLE = re.compile(
    r"(?i).*(\.(parquet|pq|feather|arrow|xlsx)|(csv|tsv|txt|jsonl?|data)\.\w+)"
)
PACKED_ARRAY = re.compile(r"(?i).*\.(gz|jpe?g|png|webp|avif|gif|tiff?)")


@dataclass(frozen=True, kw_only=True)
class Size:
    """What reading a data set takes.

    Attributes:
        needed: Bytes of memory, about; 0 for the embedded data.
        allowed: Bytes of memory that it may take.
        kept: Bytes on the disk at least, when its rows lie there.
        streamed: Whether they do.
    """

    needed: int
    allowed: int
    kept: int
    streamed: bool


IN_MEMORY = Size(needed=0, allowed=0, kept=0, streamed=False)


def of(reading: DataOptions, *data: Found | None) -> Size:
    """What data sets take, judged by the sizes of files, and where `--feed` puts their rows.

    Args:
        reading: The options.
        data: The files of the data and of its test set; None for none and for the embedded data.
    """
    sizes = [_of(found, reading) for found in data if found is not None]
    needed, kept = sum(size for size, _ in sizes), sum(least for _, least in sizes)
    allowed = int(SHARE * memory.limit())
    streamed = reading.feed == "stream" or (reading.feed == "auto" and needed > allowed)
    return Size(needed=needed, allowed=allowed, kept=kept, streamed=streamed)


def place(size: Size, name: str, cache: str | None) -> Place:
    """Where the rows go: into memory, or below TMPDIR.

    Args:
        size: Of the data.
        name: How messages call the data.
        cache: The folder that keeps the rows of streamed tables.

    Raises:
        StoreError: The disk evidently has no room for them.
    """
    if not size.streamed:
        return MEMORY
    disk = Disk(folder=Path(tempfile.gettempdir()), cache=Path(cache) if cache else None)
    disk.expect_room(size.kept, name)
    return disk


def _of(found: Found, reading: DataOptions) -> tuple[int, int]:
    """Bytes of memory that files take, about, and bytes on the disk at least."""
    if found.single and found.uri.endswith(".npz"):
        [path] = found.sources(found.keys)
        if unpacked := _unpacked(path, found.uri):
            return PER_BYTE["array"] * unpacked, unpacked
    table = is_table(found, reading.label)
    sizes = [_size(file, table=table) for file in found.files.values()]
    return sum(size for size, _ in sizes), sum(least for _, least in sizes)


def _size(file: File, *, table: bool) -> tuple[int, int]:
    """Bytes of memory, about, and bytes on the disk at least."""
    size = file.size()
    if table:
        known = _parquet(file.path) if file.path else None
        if known is not None:
            values, unpacked = known
            return max(PER_VALUE * values, PER_TEXT * unpacked), KEPT * values
        kind = "packed table" if PACKED_TABLE.fullmatch(file.name) else "table"
    else:
        kind = "packed array" if PACKED_ARRAY.fullmatch(file.name) else "array"
    return PER_BYTE[kind] * size, size


def _unpacked(path: Source, name: str) -> int:
    """Bytes of the members of an .npz file; 0 for any other file."""
    try:
        with opening.opened(path, name) as stream, zipfile.ZipFile(stream) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (DataError, DataNotFound, AccessDenied, NotImplementedError):
        return 0  # the reader reports it


def _parquet(path: Path) -> tuple[int, int] | None:
    """Values in a Parquet file, and their unpacked bytes, by its footer; None for another file."""
    import pyarrow as pa
    from pyarrow import parquet

    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return None
    try:
        metadata = parquet.read_metadata(path)
        groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
        unpacked = sum(int(group.total_byte_size) for group in groups)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None  # the reader reports it
    return int(metadata.num_rows) * int(metadata.num_columns), unpacked

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

FEWEST = 2
"""Bytes of memory for a byte of another table, at least, packed or not."""

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
        least: Bytes of memory without which it cannot be read into it; 0 where that is not known.
        allowed: Bytes of memory that it may take.
        kept: Bytes on the disk at least, when its rows lie there.
        streamed: Whether they do.
    """

    needed: int
    least: int
    allowed: int
    kept: int
    streamed: bool


IN_MEMORY = Size(needed=0, least=0, allowed=0, kept=0, streamed=False)


def of(reading: DataOptions, *data: Found | None) -> Size:
    """What data sets take, judged by the sizes of files, and where `--feed` puts their rows.

    Args:
        reading: The options.
        data: The files of the data and of its test set; None for none and for the embedded data.
    """
    sizes = [_of(found, reading) for found in data if found is not None]
    needed, least, kept = (sum(each) for each in zip(*sizes, strict=True)) if sizes else (0, 0, 0)
    allowed = int(SHARE * memory.limit())
    streamed = reading.feed == "stream" or (reading.feed == "auto" and needed > allowed)
    return Size(needed=needed, least=least, allowed=allowed, kept=kept, streamed=streamed)


def place(size: Size, name: str, cache: str | None) -> Place:
    """Where the rows go: into memory, or below TMPDIR.

    Args:
        size: Of the data.
        name: How messages call the data.
        cache: The folder that keeps the rows of streamed tables.

    Raises:
        DataError: They cannot fit into memory.
        StoreError: The disk evidently has no room for them.
    """
    if not size.streamed:
        if size.least > memory.limit():
            raise DataError(
                f"{name}: expected a table that fits into memory "
                f"({memory.limit() / 2**30:.1f} GiB). "
                f"Received: one that takes {size.least / 2**30:.1f} GiB or more.",
                hint="Use --feed stream, which keeps the rows on the disk, or a machine with more "
                "memory.",
            )
        return MEMORY
    disk = Disk(folder=Path(tempfile.gettempdir()), cache=Path(cache) if cache else None)
    disk.expect_room(size.kept, name)
    return disk


def _of(found: Found, reading: DataOptions) -> tuple[int, int, int]:
    """Bytes of memory that files take, about and at least, and bytes on the disk at least."""
    if found.single and found.uri.endswith(".npz"):
        [path] = found.sources(found.keys)
        if unpacked := _unpacked(path, found.uri):
            return PER_BYTE["array"] * unpacked, 0, unpacked
    table = is_table(found, reading.label)
    sizes = [_size(file, table=table) for file in found.files.values()]
    needed, least, kept = (sum(each) for each in zip(*sizes, strict=True))
    return needed, least, kept


def _size(file: File, *, table: bool) -> tuple[int, int, int]:
    """As `_of`."""
    size = file.size()
    if not table:  # the readers of arrays and images know their sizes
        kind = "packed array" if PACKED_ARRAY.fullmatch(file.name) else "array"
        return PER_BYTE[kind] * size, 0, size
    known = _parquet(file.path) if file.path else None
    if known is not None:
        values, unpacked = known
        return max(PER_VALUE * values, PER_TEXT * unpacked), PER_VALUE * values, KEPT * values
    kind = "packed table" if PACKED_TABLE.fullmatch(file.name) else "table"
    return PER_BYTE[kind] * size, FEWEST * size, size


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

"""The files of a table → one frame, or batch by batch; pyarrow's errors stop here."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from job.data import files
from job.data.listing import TABLE, Found
from job.data.table import csvtext, jsontext, parquetfile
from job.data.table.frame import Frame, joined
from job.errors import DataError

JSON_LINES = re.compile(r"(?i).*\.(jsonl|ndjson)(\.gz)?")

READERS = 4
"""Files parsed at once."""


@contextlib.contextmanager
def arrow_errors(name: str) -> Iterator[None]:
    """What pyarrow finds in a file only when its values are looked at."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as exc:
        raise DataError(
            f"{name}: expected a table that can be read. "
            f"Received: {' '.join(str(exc).split())[:300]}",
            hint="Write the file again.",
        ) from exc


def read(found: Found) -> Frame:
    """All files as one frame.

    Raises:
        DataError: A file is damaged, or files have different columns.
        DataNotFound, AccessDenied, StoreError: As `files.opened`.
    """
    import pyarrow as pa

    keys = tuple(key for key in found.keys if TABLE.fullmatch(key))
    paths, names = found.fetch(keys), found.names(keys)

    def one(key: str, path: Path, name: str) -> Any:
        found_batches = list(batches(key, path, name))
        if not found_batches:
            raise DataError(
                f"{name}: expected at least one row. Received: none.",
                hint="Check the program that wrote the file.",
            )
        return pa.Table.from_batches(found_batches)

    with ThreadPoolExecutor(READERS) as pool:
        tables = list(pool.map(one, keys, paths, names))
    return joined(found.uri, zip(names, tables, strict=True))


def batches(key: str, path: Path, name: str) -> Iterator[Any]:
    """One file's record batches, by its ending; see the modules beside this one."""
    with files.reading(name):
        if key.lower().endswith(".parquet"):
            yield from parquetfile.batches(path, name)
        elif JSON_LINES.fullmatch(key):
            yield from jsontext.batches(path, name)
        else:
            yield from csvtext.batches(path, name)

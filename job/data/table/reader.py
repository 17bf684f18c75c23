"""The files of a table → one frame, or batch by batch; pyarrow's errors stop here."""

import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from job.data.files import layout, opening
from job.data.files.listing import Found
from job.data.table import csvtext, jsontext, parquetfile
from job.data.table.frame import Frame, joined
from job.errors import DataError

JSON_LINES = re.compile(r"(?i).*\.(jsonl|ndjson)(\.(gz|bz2|xz|zst|zip))?")

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive writes a missing value into the name of a folder."""

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
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa

    keys = found.tables
    _expect_tables(found, keys)
    keys = tuple(key for key in keys if found.files[key].size()) or keys  # none of empty parts
    if not found.several:  # what is named one by one is meant
        layout.refuse_parts(found, keys)
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


def _expect_tables(found: Found, keys: tuple[str, ...]) -> None:
    """Refuses to read nothing of what the user named: a file, a folder, or one of several."""

    def part(key: str) -> str:
        return key.partition("/")[0] if found.several else ""

    read_of = {part(key) for key in keys}
    other = next((key for key in found.keys if part(key) not in read_of), None)
    if other is not None:
        raise DataError(
            f"{found.uri}: expected a table, such as .csv or .parquet. "
            f"Received: {found.name(other)[:200]}.",
            hint="Name files of rows and columns, or a folder that holds some.",
        )


def batches(key: str, path: Path, name: str) -> Iterator[Any]:
    """One file's record batches, by its ending; see the modules beside this one.

    What stands in its folders below the root, as in country=DE/part-0.parquet, are columns of text,
    unless the file has columns of these names.
    """
    if key.lower().endswith(".parquet"):
        read = parquetfile.batches
    elif JSON_LINES.fullmatch(key):
        read = jsontext.batches
    else:
        read = csvtext.batches
    added = _partition(key, name)
    with opening.reading(name):
        for batch in read(path, name):
            yield _extended(batch, added)


def _partition(key: str, name: str) -> dict[str, str | None]:
    """Column → value, from the folders of a key.

    Source: the "Hive style" of pyarrow.dataset.HivePartitioning, URL-encoded.
    """
    found = {}
    for folder in key.split("/")[:-1]:
        column, equals, value = (unquote(os.fsencode(part)) for part in folder.partition("="))
        if "\0" in column + value:
            raise DataError(
                f"{name}: expected text in the names of folders. Received: a NUL byte.",
                hint="Rename the folder.",
            )
        if column and equals:
            found[column] = None if value == NO_VALUE else value
    return found


def _extended(batch: Any, added: dict[str, str | None]) -> Any:
    import pyarrow as pa

    for column, value in added.items():
        if column not in batch.schema.names:
            values = pa.repeat(pa.scalar(value, pa.string()), batch.num_rows)
            batch = batch.append_column(column, values)
    return batch

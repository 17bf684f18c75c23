"""The files of a table → one frame, or batch by batch; pyarrow's errors stop here."""

import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from job.config.csv import Csv
from job.data import cache
from job.data.files import layout, opening
from job.data.files.listing import Found
from job.data.files.opening import Source
from job.data.findings import FEW, Finding
from job.data.place import MEMORY, Place, mapped
from job.data.table import csvtext, dialect, excel, jsontext, parquetfile
from job.data.table.frame import Frame, Part, encoded, joined
from job.errors import DataError

PACKED = re.compile(r"(?i)\.(gz|bz2|xz|zst|zip)$")

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""How Hive writes a missing value into the name of a folder."""

READERS = 4
"""Files parsed at once."""

TOTAL = r"(?i)^(grand |sub-?)?(total|totals|sum|summe|gesamt|average|mean)\b.{0,20}$"
"""How a row of totals begins."""

TOTAL_ROWS = 3


@contextlib.contextmanager
def arrow_errors(name: str) -> Iterator[None]:
    """What pyarrow finds in a file only when its values are looked at."""
    try:
        yield
    except pa.ArrowMemoryError:  # which says nothing of the file
        raise
    except pa.ArrowException as exc:
        raise DataError(
            f"{name}: expected a table that can be read. "
            f"Received: {' '.join(str(exc).split())[:300]}",
            hint="Write the file again.",
        ) from exc


def read(found: Found, said: Csv, known: frozenset[str], place: Place = MEMORY) -> Frame:
    """All files as one frame.

    Args:
        found: The files.
        said: What the user said of text files.
        known: Names that columns may have, such as the label's.
        place: Where its rows go.

    Raises:
        DataError: A file is damaged, or files have different columns.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    keys = found.tables
    _expect_tables(found, keys)
    keys = tuple(key for key in keys if found.files[key].size()) or keys  # none of empty parts
    if not found.several:  # what is named one by one is meant
        layout.refuse_parts(found, keys)
    paths = found.sources(keys, flying=place.streamed)

    def one(key: str, path: Source, name: str) -> Part:
        with opening.reading(name):
            if place.streamed:
                return _without_totals(_passed(key, path, name, said, known, place))
            part = _without_totals(_part(key, path, name, said, known))
        return replace(part, table=_extended(part.table, _partition(key, name)))

    with ThreadPoolExecutor(READERS) as pool:
        parts = list(pool.map(one, keys, paths, found.names(keys)))
    frame = _without_empty(joined(found.uri, parts))
    if not place.streamed:
        return frame
    columns = {
        column: encoded(values, place, found.uri) if pa.types.is_string(values.type) else values
        for column, values in frame.columns.items()
    }
    return replace(frame, columns=columns)


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


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is known of a file besides its rows; see `Part`."""

    written: tuple[str, ...]
    index: tuple[str, ...]
    delimiter: str
    findings: tuple[Finding, ...]


def _passed(
    key: str, path: Source, name: str, said: Csv, known: frozenset[str], place: Place
) -> Part:
    """A file that passes through memory block by block."""
    added = _partition(key, name)

    def read(place: Place) -> tuple[Any, Beside]:
        typed, quoted = csvtext.NUMBERS, True
        while True:
            parts = _parts(key, path, name, said, known, typed=typed, quoted=quoted, strict=True)
            try:
                return _settled(parts, added, name, place)
            except csvtext.Misread as again:
                typed, quoted = again.typed, again.quoted

    how = name, said, sorted(known), sorted(added.items())
    content = partial(cache.content, path, name)
    table, beside = cache.kept(place, content, name, how, Beside, read, lambda f, _: mapped(f))
    return Part(name=name, table=table, **vars(beside))


def _settled(
    parts: Iterator[Part], added: dict[str, str | None], name: str, place: Place
) -> tuple[Any, Beside]:
    """The rows of the parts of a file, in their place, and what is known besides."""
    first = next(parts)
    findings = list(first.findings)

    def tables() -> Iterator[Any]:
        yield _extended(first.table, added)
        for part in parts:
            findings.extend(part.findings)
            yield _extended(part.table, added)

    return place.table(tables(), name), Beside(
        written=first.written,
        index=first.index,
        delimiter=first.delimiter,
        findings=tuple(findings),
    )


def _part(key: str, path: Source, name: str, said: Csv, known: frozenset[str]) -> Part:
    ending = _ending(key)
    if ending in ("parquet", "pq"):
        return parquetfile.table(path, name)
    if ending in ("feather", "arrow", "ipc"):
        return parquetfile.arrow_table(path, name)
    if ending == "xlsx":
        return excel.table(path, name, said, known)
    if ending in ("json", "jsonl", "ndjson"):
        return _named(jsontext.table(path, name), name)
    return csvtext.table(path, name, said, known)


def texts(key: str, path: Source, name: str, count: int) -> Any:
    """The first rows of a Parquet or Arrow file, so many at most, at least in columns of text."""
    with opening.reading(name):
        if _ending(key) in ("parquet", "pq"):
            return parquetfile.texts(path, name, count).table
        return parquetfile.arrow_table(path, name).table.slice(0, count)


def batches(
    key: str, path: Source, name: str, said: Csv, known: frozenset[str]
) -> Iterator[tuple[Any, dict[str, str], tuple[str, ...], tuple[Finding, ...]]]:
    """One file block by block: rows, names as the file has them → columns, index, findings.

    What stands in its folders below the root, as in country=DE/part-0.parquet, are columns of text,
    unless the file has columns of these names. A row of a text file with another number of fields
    is one of missing values, so that each row has its prediction.
    """
    added = _partition(key, name)
    with opening.reading(name):
        for part in _ended(_parts(key, path, name, said, known, every=True)):
            table = _extended(part.table, added)
            names = dict(zip(part.written, part.table.column_names, strict=False))
            yield table, {w: n for w, n in names.items() if w != n}, part.index, part.findings


def _parts(
    key: str, path: Source, name: str, said: Csv, known: frozenset[str], **how: Any
) -> Iterator[Part]:
    """The blocks of a file; `how` is what `csvtext.batches` takes besides."""
    ending = _ending(key)
    if ending in ("parquet", "pq"):
        yield from parquetfile.batches(path, name)
    elif ending in ("json", "jsonl", "ndjson"):
        for batch in jsontext.batches(path, name):
            yield _named(pa.table(batch), name)
    elif ending in ("feather", "arrow", "ipc", "xlsx"):
        yield _part(key, path, name, said, known)
    else:
        yield from csvtext.batches(path, name, said, known, **how)


def _named(table: Any, name: str) -> Part:
    """A part with names as columns have them."""
    written = tuple(table.column_names)
    names, findings = dialect.names(written, name)
    return Part(
        name=name,
        table=table.rename_columns(list(names)),
        written=written,
        findings=tuple(findings),
    )


def _ended(parts: Iterator[Part]) -> Iterator[Part]:
    """The same blocks, without totals at the end of the last one that has rows."""
    held: list[Part] = []
    for part in parts:
        if part.table.num_rows:
            yield from held
            held = []
        held.append(part)
    if held:
        yield _without_totals(held[0])
        yield from held[1:]


def _ending(key: str) -> str:
    return PACKED.sub("", key).rpartition(".")[2].lower()


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


def _extended(table: Any, added: dict[str, str | None]) -> Any:
    for column, value in added.items():
        if column not in table.column_names:
            values = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
            table = table.append_column(column, values)
    return table


def _without_totals(part: Part) -> Part:
    """A text table without rows of totals at its end."""
    table, count = part.table, 0
    while count < TOTAL_ROWS and table.num_rows > 2 and table.num_columns > 2:
        row = [column[-1].as_py() for column in table.columns]
        first = next((value for value in row if value is not None), None)
        empty = sum(value is None for value in row)
        if not isinstance(first, str) or not re.match(TOTAL, first.strip()) or not empty:
            break
        table, count = table.slice(0, table.num_rows - 1), count + 1
    if not count:
        return part
    shown = tuple(
        ", ".join(str(v) for v in (c[i].as_py() for c in part.table.columns) if v is not None)[:40]
        for i in range(table.num_rows, min(part.table.num_rows, table.num_rows + FEW))
    )
    finding = Finding(code="total-rows", column=part.name, count=count, values=shown)
    return replace(part, table=table, findings=(*part.findings, finding))


def _without_empty(frame: Frame) -> Frame:
    """Drops columns with neither name nor value; a first one that counts is the index."""
    columns, index, nameless = dict(frame.columns), list(frame.index), []
    for i, (name, column) in enumerate(frame.columns.items()):
        if not re.fullmatch(r"unnamed_\d+(_\d+)?", name):
            if i == 0 and re.fullmatch(r"(?i)unnamed: 0(\.\d+)?", name) and _counts(column):
                index.append(name)
            continue
        if column.null_count == len(column):
            del columns[name]
        elif i == 0 and _counts(column):
            index.append(name)
        else:
            nameless.append(name)
    findings = frame.findings
    if nameless:
        told = Finding(code="unnamed-column", column=frame.name, values=tuple(nameless))
        findings = (*findings, told)
    return replace(frame, columns=columns, index=tuple(index), findings=findings)


def _counts(column: Any) -> bool:
    """Whether a column counts its rows, as an index does."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return bool(pc.count_distinct(column).as_py() == len(column))
    values = pc.fill_null(numbers, 0).to_numpy()
    return bool((np.diff(values) > 0).all()) or len(np.unique(values)) == len(values)

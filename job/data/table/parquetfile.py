"""Parquet and Arrow files → columns of text, int64, float64, bool, dates and times."""

import itertools
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc, parquet

from job.data import memory, sizing
from job.data.files import opening
from job.data.files.opening import Source
from job.data.table import dialect, kinds
from job.data.table.frame import Part
from job.errors import DataError

BATCH_ROWS, BATCH_VALUES = 65_536, 1 << 19
"""Rows of a block at most, and its values, which more columns than 8 keep it to."""

DAMAGE = (OSError, UnicodeDecodeError, OverflowError, MemoryError)
"""What pyarrow raises for damaged files besides its own exceptions."""

INDEX = "__index_level_"
"""How pandas begins the name of an index without one."""


def table(path: Source, name: str) -> Part:
    """All rows of a Parquet file; missing values, NaN among them, are null.

    Raises:
        DataError: It is damaged, or larger than memory; names the row group and the column of the
            damage unless the footer has it.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    file = None
    with opening.opened(path, name) as stream:
        try:
            file = parquet.ParquetFile(stream, page_checksum_verification=True)
            memory.check((max(file.metadata.num_rows, 0), len(file.schema_arrow)), 8, name)
            texts = [each.name for each in file.schema_arrow if pa.types.is_string(each.type)]
            if texts and file.metadata.num_rows:  # the file has dictionaries, mostly
                file = parquet.ParquetFile(
                    stream, page_checksum_verification=True, read_dictionary=texts
                )
            read = file.read()
            read.validate(full=True)
            return _part(read, name, _fits(file))
        except (pa.ArrowException, *DAMAGE) as exc:
            raise _damage(exc, file, name) from exc


def batches(path: Source, name: str) -> Iterator[Part]:
    """The same rows block by block, at least one (perhaps without rows).

    Raises:
        DataError: As `table`.
    """
    file, first = None, 0
    with opening.opened(path, name) as stream:
        try:
            file = parquet.ParquetFile(
                stream, page_checksum_verification=True, buffer_size=1 << 16, pre_buffer=False
            )  # else a whole row group is read ahead
            fits = _fits(file)
            opening.spread(stream, max(1, len(file.schema_arrow)))
            yield _part(file.schema_arrow.empty_table(), name, fits)
            rows = max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, len(file.schema_arrow))))
            for batch in file.iter_batches(rows):
                batch.validate(full=True)
                ready = _part(pa.Table.from_batches([batch]), name, fits, first)
                first += batch.num_rows
                yield ready
        except (pa.ArrowException, *DAMAGE) as exc:
            raise _damage(exc, file, name, first) from exc


def texts(path: Source, name: str, count: int) -> Part:
    """The columns of text, of the first rows; so many at most.

    Raises:
        DataError: As `table`.
    """
    file = None
    with opening.opened(path, name) as stream:
        try:
            file = parquet.ParquetFile(
                stream, page_checksum_verification=True, buffer_size=1 << 16, pre_buffer=False
            )
            fields = [each for each in file.schema_arrow if not pa.types.is_primitive(each.type)]
            names = [each.name for each in fields]
            batches = list(itertools.islice(file.iter_batches(count, columns=names), bool(names)))
            read = pa.Table.from_batches(batches, pa.schema(fields))
            read.validate(full=True)
            return _part(read, name, frozenset())
        except (pa.ArrowException, *DAMAGE) as exc:
            raise _damage(exc, file, name) from exc


def arrow_table(path: Source, name: str) -> Part:
    """All rows of an Arrow (Feather) file; see `table`."""
    with opening.opened(path, name) as stream:
        try:
            try:
                read = ipc.open_file(stream).read_all()
            except pa.ArrowInvalid:
                stream.seek(0)
                read = ipc.open_stream(stream).read_all()
            read.validate(full=True)
            return _part(read, name, frozenset())
        except (pa.ArrowException, *DAMAGE) as exc:
            if isinstance(exc, OSError) and exc.errno not in opening.DECODERS:
                raise
            raise DataError(
                f"{name}: expected an undamaged Arrow file. "
                f"Received: {' '.join(str(exc).split())[:300]}",
                hint="Copy the file again, or write it anew.",
            ) from exc


def _damage(exc: Exception, file: Any, name: str, first: int = 0) -> Exception:
    if isinstance(exc, OSError) and exc.errno not in opening.DECODERS:
        return exc
    values = file.metadata.num_rows * file.metadata.num_columns if file else 0
    if isinstance(exc, MemoryError) and 2 * sizing.PER_VALUE * values > memory.limit():
        return exc  # no damage that announces too much, but too little memory
    return DataError(
        f"{name}: {_culprit(file, first)}expected an undamaged Parquet file. "
        f"Received: {' '.join(str(exc).split())[:300]}",
        hint="Copy the file again, or write it anew."
        if file
        else "Copy the file again, or write it anew; without its last bytes, the footer, "
        "no row and no column of it is known.",
    )


def _part(read: Any, name: str, fits: frozenset[str], first: int = 0) -> Part:
    written = tuple(read.schema.names)
    names, findings = dialect.names(written, name)
    columns = [
        column.cast(pa.int64()) if own in fits else plain(column)
        for own, column in zip(written, read.columns, strict=True)
    ]
    columns = [pa.chunked_array([], c.type) if not len(read) else c for c in columns]
    _refuse_nul(names, columns, name, first)
    index = _index(read.schema)
    return Part(
        name=name,
        table=pa.table(columns, names=list(names)),
        written=written,
        index=tuple(n for n, own in zip(names, written, strict=True) if own in index),
        findings=tuple(findings),
    )


def _index(schema: Any) -> frozenset[str]:
    """The columns that pandas wrote for the index of its rows."""
    told = (schema.pandas_metadata or {}).get("index_columns", [])
    named = {each for each in told if isinstance(each, str)}
    return frozenset(named | {name for name in schema.names if name.startswith(INDEX)})


def _culprit(file: Any, first: int) -> str:
    """The row group and column that cannot be read, in words; first: rows that could."""
    group, name = 0, ""
    try:
        while file and group < file.num_row_groups:
            first -= file.metadata.row_group(group).num_rows
            for name in file.schema_arrow.names if first < 0 else ():
                table = file.read_row_group(group, columns=[name], use_threads=False)
                table.validate(full=True)
                plain(table.column(0))
            group += 1
    except (pa.ArrowException, *DAMAGE):
        return f"row group {group} (counting from 0), column {name[:80]!r}: "
    return ""


def _fits(file: Any) -> frozenset[str]:
    """The columns of uint64 that int64 holds exactly; the others become float64."""
    names = [field.name for field in file.schema_arrow if pa.types.is_uint64(field.type)]
    large = set()
    for batch in file.iter_batches(BATCH_ROWS, columns=names) if names else ():
        for name in names:
            if (pc.max(batch.column(name)).as_py() or 0) >= 2**63:
                large.add(name)
    return frozenset(names) - large


def _refuse_nul(names: tuple[str, ...], columns: list[Any], name: str, first: int) -> None:
    for column, array in zip(names, columns, strict=True):
        if kinds.is_text(array.type) and pc.any(_has_nul(kinds.values(array))).as_py():
            row = pc.index(_has_nul(array.cast(pa.string())), True).as_py()
            if row >= 0:
                raise DataError(
                    f"{name}: row {first + row} (counting from 0), column {column[:80]!r}: "
                    "expected text. Received: a NUL byte.",
                    hint="Remove it, or leave the column out of the file.",
                )


def _has_nul(texts: Any) -> Any:
    return pc.match_substring(texts, "\0")


def plain(array: Any) -> Any:
    """The same values in the few types that the rest knows; other types as they are."""
    kind = array.type
    if kind == pa.dictionary(pa.int32(), pa.string()):
        return array
    if pa.types.is_dictionary(kind):
        return plain(array.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_duration(kind):
        return array.cast(pa.duration("us"), safe=False).cast(pa.int64()).cast(pa.float64())
    if pa.types.is_decimal(kind):  # by way of text, which is rounded once, as in a CSV
        array = array.cast(pa.string()).cast(pa.float64())
    elif pa.types.is_uint64(kind):
        array = array.cast(pa.float64(), safe=False)
    elif pa.types.is_integer(kind):
        return array.cast(pa.int64())
    elif pa.types.is_floating(kind):
        array = array.cast(pa.float64())
    else:
        return array
    return kinds.without_nan(array)

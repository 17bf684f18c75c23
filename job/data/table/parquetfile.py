"""Parquet files → record batches of text, int64, float64, bool, or what no model takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.data import memory
from job.data.files import opening
from job.data.table.csvtext import check_names
from job.errors import DataError

BATCH_ROWS = 65_536

DAMAGE = (OSError, UnicodeDecodeError, OverflowError, MemoryError)
"""What pyarrow raises for damaged files besides its own exceptions."""


def batches(path: Path, name: str) -> Iterator[Any]:
    """Reads a Parquet file batch by batch.

    Args:
        path: The file.
        name: How messages call it.

    Yields:
        Arrow record batches, at least one (perhaps without rows); missing values, NaN among them,
        are null.

    Raises:
        DataError: It is damaged, larger than memory, or names two columns alike; names the row
            group and the column of the damage unless the footer has it.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    file, first = None, 0
    with opening.opened(path, name) as stream:
        try:
            file = parquet.ParquetFile(stream, page_checksum_verification=True)
            names = file.schema_arrow.names
            check_names(names, name)
            memory.check((max(file.metadata.num_rows, 0), len(names)), 8, name)
            fits = _fits(file)
            yield _plain(file.schema_arrow.empty_table(), fits)
            for batch in file.iter_batches(BATCH_ROWS):
                batch.validate(full=True)
                ready = _plain(batch, fits)
                _refuse_nul(ready, name, first)
                first += batch.num_rows
                yield ready
        except (pa.ArrowException, *DAMAGE) as exc:
            if isinstance(exc, OSError) and exc.errno not in opening.DECODERS:
                raise
            raise DataError(
                f"{name}: {_culprit(file, first)}expected an undamaged Parquet file. "
                f"Received: {' '.join(str(exc).split())[:300]}",
                hint="Copy the file again, or write it anew."
                if file
                else "Copy the file again, or write it anew; without its last bytes, the footer, "
                "no row and no column of it is known.",
            ) from exc


def _culprit(file: Any, first: int) -> str:
    """The row group and column that cannot be read, in words; first: rows that could."""
    import pyarrow as pa

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
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [field.name for field in file.schema_arrow if pa.types.is_uint64(field.type)]
    large = set()
    for batch in file.iter_batches(BATCH_ROWS, columns=names) if names else ():
        for name in names:
            if (pc.max(batch.column(name)).as_py() or 0) >= 2**63:
                large.add(name)
    return frozenset(names) - large


def _plain(batch: Any, fits: frozenset[str]) -> Any:
    import pyarrow as pa

    columns = [
        column.cast(pa.int64()) if name in fits else plain(column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    if isinstance(batch, pa.Table):
        columns = [pa.array([], column.type) for column in columns]
    return pa.record_batch(columns, names=batch.schema.names)


def _refuse_nul(batch: Any, name: str, first: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, array in zip(batch.schema.names, batch, strict=True):
        if pa.types.is_string(array.type):
            row = pc.index(pc.match_substring(array, "\0"), True).as_py()
            if row >= 0:
                raise DataError(
                    f"{name}: row {first + row} (counting from 0), column {column[:80]!r}: "
                    "expected text. Received: a NUL byte.",
                    hint="Remove it, or leave the column out of the file.",
                )


def plain(array: Any) -> Any:
    """The same values in the few types that the rest knows; other types as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain(array.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
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
    return pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)

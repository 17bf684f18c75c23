"""CSV files with a header → record batches of text columns."""

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from job.data.files import opening
from job.data.table import csvrows
from job.errors import DataError

BLOCK_BYTES = 8 << 20
"""Parsed at once; a row must fit."""

HEADER_BYTES = 4 << 20

FIELD_BYTES = 1 << 20
"""No number and no category is longer."""

NULLS = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]
"""What stands for a missing value, as pandas and others write it."""

DELIMITERS = ",;\t|"

QUOTED = re.compile('"[^"]*"')

NUL = b"\0"


def batches(path: Path, name: str) -> Iterator[Any]:
    """Reads a CSV file block by block.

    Args:
        path: The file, UTF-8, packed with gzip or not.
        name: How messages call it.

    Yields:
        Arrow record batches, at least one (perhaps without rows); every column is text, missing
        values are null.

    Raises:
        DataError: No header, or one with empty or repeated names; a row with another number of
            fields, NUL bytes, a field of more than 1 MiB, or text that is not UTF-8.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    with opening.opened(path, name) as packed:
        stream = opening.unpacked(packed, name)
        names, delimiter = _header(stream, name)
        yield pa.record_batch([pa.array([], pa.string()) for _ in names], names=names)
        odd: list[Any] = []

        def ragged(row: Any) -> str:
            odd.append(row)
            return "error"

        first = 0
        try:
            reader = arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=names, skip_rows=1
                ),
                parse_options=arrow.ParseOptions(
                    delimiter=delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=ragged,
                    ignore_empty_lines=len(names) > 1,  # else one is a missing value
                ),
                convert_options=arrow.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.binary()),
                    null_values=NULLS,
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                columns = [_text(c, name, first, n) for c, n in zip(batch, names, strict=True)]
                yield pa.record_batch(columns, names=names)
                first += batch.num_rows
        except pa.ArrowException as exc:
            if odd:
                row = odd[0]
                raise DataError(
                    f"{name}: row {row.number - 2} (counting from 0): expected "
                    f"{row.expected_columns} fields, as in the header. "
                    f"Received: {row.actual_columns}: {row.text[:80]!r}.",
                    hint="Correct the row; a field that holds the delimiter needs quotes, and a "
                    "quote that opens must close.",
                ) from exc
            if "too short" in str(exc):  # a header without a line feed, and nothing more
                return
            if "straddling" in str(exc):
                with opening.opened(path, name) as again:  # the reader still reads the other one
                    place = csvrows.giant(
                        opening.unpacked(again, name), delimiter, names, BLOCK_BYTES
                    )
                raise DataError(
                    f"{name}: {place}: expected a row of at most {BLOCK_BYTES >> 20} MiB. "
                    "Received: a longer one, or a quote that is not closed.",
                    hint="Look for an open quote or a damaged line.",
                ) from exc
            raise DataError(
                f"{name}: expected a CSV file. Received: {' '.join(str(exc).split())[:300]}",
                hint="Look for an open quote or a damaged line.",
            ) from exc


def _header(stream: BinaryIO, name: str) -> tuple[list[str], str]:
    line = stream.readline(HEADER_BYTES)
    stream.seek(0)
    if b"\0" in line:
        raise _nul(f"{name}: line 1, byte {line.index(NUL)}")
    try:
        text = line.removeprefix(codecs.BOM_UTF8).decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise not_utf8(f"{name}: line 1, byte {exc.start}", exc) from exc
    delimiter = max(DELIMITERS, key=QUOTED.sub("", text).count)
    try:
        names = next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as exc:  # a field of more than 131,072 characters
        if "\r" in text:
            raise DataError(
                f"{name}: expected lines that end with a line feed. Received: carriage returns "
                "alone, as old Macs wrote them.",
                hint=r"Convert the file: tr '\r' '\n' < OLD.csv > NEW.csv",
            ) from exc
        fields = text.split(delimiter)
        longest = max(range(len(fields)), key=lambda i: len(fields[i]))
        raise DataError(
            f"{name}: line 1, position {longest} (counting from 0): expected the name of a column. "
            f"Received: {len(fields[longest]):,} characters.",
            hint="Write the names of the columns in the first line.",
        ) from exc
    check_names(names, name)
    return names, delimiter


def check_names(names: list[str], name: str) -> None:
    """Refuses a header without names, or with one name twice.

    Raises:
        DataError: It is such a header.
    """
    empty = [i for i, column in enumerate(names) if not column.strip()]
    twice = (
        [column[:80] for column in names if names.count(column) > 1]
        if len(set(names)) < len(names)
        else []
    )
    if not names or empty or twice:
        received = (
            "no header"
            if not names
            else f"no name in position {empty[0]} (counting from 0)"
            if empty
            else f"{twice[0]!r} twice"
        )
        raise DataError(
            f"{name}: expected a header with a name of its own for each column. "
            f"Received: {received}.",
            hint="Write the names in the first line; with pandas: to_csv(…, index=False).",
        )


def _text(column: Any, name: str, first: int, column_name: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    def where(row: int) -> str:
        return f"{name}: row {first + row} (counting from 0), column {column_name[:80]!r}"

    longest = pc.max(pc.binary_length(column)).as_py() or 0
    if longest > FIELD_BYTES:
        row = pc.index(pc.binary_length(column), longest).as_py()
        raise DataError(
            f"{where(row)}: expected a field of at most {FIELD_BYTES:,} bytes. "
            f"Received: {longest:,}.",
            hint="Look for a quote that is not closed, or leave the column out of the file.",
        )
    row = pc.index(pc.match_substring(column, NUL), True).as_py()
    if row >= 0:
        raise _nul(where(row))
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        for row, value in enumerate(column):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError as exc:
                raise not_utf8(where(row), exc) from exc
        raise


def _nul(where: str) -> DataError:
    return DataError(
        f"{where}: expected text. Received: a NUL byte.",
        hint="Save the file as UTF-8; UTF-16 and binary files are not read.",
    )


def not_utf8(where: str, exc: UnicodeDecodeError) -> DataError:
    """Text in another encoding."""
    return DataError(
        f"{where}: expected UTF-8 text. Received: {exc.object[exc.start : exc.start + 8]!r}.",
        hint="Save the file as UTF-8: iconv -f latin1 -t utf-8.",
    )

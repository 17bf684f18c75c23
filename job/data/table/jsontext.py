"""JSON and JSON Lines files → columns of text."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import pyarrow as pa

from job.data.files import opening
from job.data.files.opening import Source
from job.errors import DataError

BATCH_ROWS = 8192

LINE_BYTES = 8 << 20

Row = dict[str, str | None]


def table(path: Source, name: str) -> Any:
    """All rows of a JSON Lines file, or of one JSON document; absent keys are missing values.

    A document is an array of rows, an object of columns (arrays, or pandas's row → value), or an
    object with one array of rows, however deep. A row is an object of plain values; where all are
    arrays, the first one has the names.

    Raises:
        DataError: It is something else.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    with opening.opened(path, name) as packed:
        stream = opening.unpacked(packed, name)
        first = _first(stream, name)
        stream.seek(0)
        if not _is_lines(first):
            try:
                document = json.loads(stream.read().decode("utf-8-sig"))
            except (ValueError, RecursionError) as exc:
                if not first.startswith("{"):
                    raise _bad(name, str(exc)[:200]) from exc
                stream.seek(0)
            else:
                return _of_rows(_document(document, name))
        return _of_rows([row for _, row in _lines(stream, name)])


def batches(path: Source, name: str) -> Iterator[Any]:
    """The rows of a file of JSON Lines block by block, all with the same columns.

    Raises:
        DataError: As `table`.
    """
    with opening.opened(path, name) as packed:
        first = _first(opening.unpacked(packed, name), name)
    if not _is_lines(first):
        yield from table(path, name).to_batches(BATCH_ROWS)
        return
    keys: dict[str, None] = {}
    with opening.opened(path, name) as packed:
        for _, row in _lines(opening.unpacked(packed, name), name):
            keys.update(dict.fromkeys(row))
    with opening.opened(path, name) as packed:
        rows: list[Row] = []
        for _, row in _lines(opening.unpacked(packed, name), name):
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                yield _of_rows(rows, keys).to_batches()[0]
                rows = []
        if rows:
            yield _of_rows(rows, keys).to_batches()[0]


def _first(stream: BinaryIO, name: str) -> str:
    try:
        return stream.read(4096).decode(errors="replace").lstrip("\ufeff \t\r\n")
    except opening.UNPACKING as exc:
        raise opening.damaged(f"{name}: after 0 lines", exc) from exc


def _is_lines(first: str) -> bool:
    """Whether a file begins with a whole object on its first line, and goes on."""
    line, end, _ = first.partition("\n")
    try:
        return bool(end) and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_read(stream, name)):
        bare = line.strip(b"\xef\xbb\xbf \t\r\n")
        if not bare:
            continue
        where = f"{name}: line {number + 1}"
        try:
            found = json.loads(bare)
        except (ValueError, RecursionError) as exc:
            raise _bad(where, f"{line[:80]!r}") from exc
        if not isinstance(found, dict) or not found:
            raise _bad(where, f"{line[:80]!r}")
        yield number, _row(found, where)


def _read(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of a stream; where one cannot be unpacked, how many came before is known."""
    number = 0
    try:
        while line := stream.readline(LINE_BYTES):
            yield line
            number += 1
    except opening.UNPACKING as exc:
        raise opening.damaged(f"{name}: after {number:,} lines", exc) from exc


def _document(document: Any, name: str) -> list[Row]:
    found = _array(document)
    if found is None and isinstance(document, dict):
        found = [document]
    if found is None or not all(isinstance(row, dict) for row in found):
        raise _bad(name, f"{str(document)[:80]!r}")
    return [_row(row, f"{name}: row {i} (counting from 0)") for i, row in enumerate(found)]


def _array(document: Any) -> list[Any] | None:
    """The array of rows in a document, or None."""
    if isinstance(document, list):
        names = document[0] if document else None
        if isinstance(names, list) and all(isinstance(each, str) for each in names):
            return [dict(zip(names, row, strict=False)) for row in document[1:]]
        return document
    if not isinstance(document, dict):
        return None
    lists = {k: v for k, v in document.items() if isinstance(v, list)}
    if set(document) >= {"columns", "data"} and len(lists) >= 2:  # pandas's "split"
        return [dict(zip(document["columns"], row, strict=False)) for row in lists["data"]]
    nested = [v for v in lists.values() if v and all(isinstance(row, dict | list) for row in v)]
    if nested:
        return _array(nested[0]) if len(nested) == 1 else None
    if lists and len(lists) == len(document) and len({len(v) for v in lists.values()}) == 1:
        values = zip(*lists.values(), strict=True)
        return [dict(zip(lists, row, strict=True)) for row in values]
    inner = [v for v in document.values() if isinstance(v, dict)]
    deep = any(isinstance(each, dict | list) for v in inner for each in v.values())
    if inner and len(inner) == len(document) and not deep:
        if all(key.isdigit() for key in document):  # pandas's "index"
            return inner
        ids = dict.fromkeys(key for column in inner for key in column)
        return [{k: v.get(key) for k, v in document.items()} for key in ids]
    found = [rows for rows in map(_array, inner) if rows is not None]
    return found[0] if len(found) == 1 else None


def _of_rows(rows: list[Row], keys: Mapping[str, None] | None = None) -> Any:
    if keys is None:
        keys = dict.fromkeys(key for row in rows for key in row)
    columns = [pa.array([row.get(key) for row in rows], pa.string()) for key in keys]
    return pa.table(columns, names=list(keys))


def _row(found: Mapping[Any, Any], where: str) -> Row:
    row = {str(key): _text(value, where) for key, value in found.items()}
    try:
        "".join([*row, *(value or "" for value in row.values())]).encode()
    except ValueError as exc:  # a lone surrogate
        raise _bad(where, f"{str(found)[:80]!a}") from exc
    return row


def _text(value: Any, where: str) -> str | None:
    if value is None or value != value or value == "":  # NaN
        return None
    if isinstance(value, list | dict) or "\0" in str(value):
        raise _bad(where, f"{str(value)[:80]!r} as a value")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bad(where: str, received: str) -> DataError:
    return DataError(
        f"{where}: expected a JSON object of names and plain values. Received: {received}.",
        hint='Write each row as {"column": value, …} on a line of its own.',
    )

"""Delimited text files → columns of text; in large files plain numbers have their types."""

import codecs
import collections
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow

from job.config.csv import Csv
from job.data.files import opening
from job.data.files.opening import Source
from job.data.findings import FEW, Finding
from job.data.table import dialect, kinds, numbers
from job.data.table.dialect import Dialect
from job.data.table.frame import Part
from job.errors import DataError

BLOCK_BYTES = 8 << 20
"""Parsed at once; a row must fit."""

PART_BYTES = 1 << 14
"""Of the head, unpacked at once: what comes before damage is counted so exactly."""

SLOW_ROWS = 65_536

SAMPLE_BYTES = 1 << 17
"""Of a large file, what the types of its columns are guessed from."""

TEXT = pa.dictionary(pa.int32(), pa.string())

NUMBERS: tuple[Any, ...] = (pa.int64(), pa.float64())

NUL = b"\0"

PADDING = re.compile(rb"\0+(?=[\r\n])")
"""NUL bytes at the end of a line."""

NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""Bytes that were no UTF-8, as Python's surrogateescape has them."""


@dataclass(frozen=True, kw_only=True)
class Odd:
    """A row with another number of fields than the header.

    Attributes:
        number: Its place among all rows, from 1; 0 where blocks are read at once.
        fields: How many it has.
        text: As it is written.
    """

    number: int
    fields: int
    text: str


@dataclass
class Body(io.RawIOBase):
    """The rows of a text file in UTF-8: what follows the header.

    Attributes:
        head: Bytes that were read ahead.
        rest: What follows them, in UTF-8.
        padded: Lines that NUL bytes at their end were taken off.
        nul: Whether another NUL byte was read.
        skipped: Rows with another number of fields.
        held: NUL bytes that the last read ended with.
        after: What may stand before a value, as bytes; empty to look for no zeros.
        zeros: Whether a value began with a zero and another digit.
        last: The bytes that the last read ended with.
    """

    head: bytes
    rest: Any
    padded: int = 0
    nul: bool = False
    skipped: list[Odd] = field(default_factory=list)
    held: bytes = b""
    after: bytes = b""
    zeros: bool = False
    last: bytes = b"\n"

    def readable(self) -> bool:  # noqa: D102
        return True

    def read(self, size: int = -1) -> bytes:  # noqa: D102
        while True:
            found: bytes
            if self.head and size < 0:
                found, self.head = self.head + self.rest.read(), b""
            elif self.head:
                found, self.head = self.head[:size], self.head[size:]
            else:
                found = self.rest.read(size)
            if not found:
                return b""
            if NUL in found or self.held:
                found = self._without_padding(self.held + found)
            if found:
                self.zeros = self.zeros or (bool(self.after) and self._has_zeros(found))
                return found

    def _has_zeros(self, found: bytes) -> bool:
        data = np.frombuffer(self.last + found, np.uint8)
        self.last = found[-2:]
        at = np.flatnonzero(data[:-1] == ord("0"))
        at = at[np.isin(data[at - 1], np.frombuffer(self.after, np.uint8))]
        return bool(((data[at + 1] >= ord("0")) & (data[at + 1] <= ord("9"))).any())

    def _without_padding(self, found: bytes) -> bytes:
        found, lines = PADDING.subn(b"", found)
        kept = found.rstrip(NUL)
        self.padded += lines
        self.held = found[len(kept) :]
        self.nul = self.nul or NUL in kept
        return kept


def opened(stream: BinaryIO, name: str, said: Csv, known: frozenset[str]) -> tuple[Dialect, Body]:
    """The dialect of an unpacked file, and its rows.

    Raises:
        DataError: It is empty, or binary.
    """
    head = _head(stream, name)
    cut_off = len(head) == dialect.HEAD_BYTES
    encoding, mark = dialect.encoding_of(head, said.encoding)
    head = head[mark:]
    if encoding == "utf-8":
        rest: Any = stream
    else:
        # A character may be cut off at the end of the head, so decoding goes on from there.
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        head = decoder.decode(head).encode()
        rest = _Decoded(stream, decoder)
    head, padded = PADDING.subn(b"", head)
    head = head.rstrip(NUL)
    text = head.decode(errors="surrogateescape")
    first = dialect.LINE.match(text)
    nul, line = text.find("\0"), len(first[0]) if first else 0
    if 0 <= nul < line or text[:4096].count("\0") > len(text[:4096]) / 50:
        raise DataError(
            f"{name}: line {1 if nul < line else 2}, byte {nul}: expected text. "
            "Received: a NUL byte.",
            hint="Save the file as UTF-8; binary files are no tables.",
        )
    if "\r" not in text and "\n" not in text and cut_off:
        raise _long(name)
    if cut_off:  # the last line may be, too
        cut = max(text.rfind("\n"), text.rfind("\r"))
        sample = text[: cut + 1] if cut > 0 else text
    else:
        sample = text
    found = dialect.find(_readable(sample), name, encoding, said, known)
    start = _bytes_before(sample, found.above)
    return found, Body(head[start:], rest, padded)


def _head(stream: BinaryIO, name: str) -> bytes:
    parts: list[bytes] = []
    left = dialect.HEAD_BYTES
    try:
        while part := stream.read(min(left, PART_BYTES)):
            parts.append(part)
            left -= len(part)
    except opening.UNPACKING as exc:
        lines = sum(part.count(b"\n") for part in parts)
        raise opening.damaged(f"{name}: after {lines:,} lines", exc) from exc
    return b"".join(parts)


def table(path: Source, name: str, said: Csv, known: frozenset[str]) -> Part:
    """All rows of a file; missing values are null.

    Columns are text. Those of a large file that nobody named, and whose first rows are plain
    numbers, are int64 or float64, and its other columns are dictionaries of text, which is faster.

    Raises:
        DataError: Rows differ in their number of fields, a quote does not close, or bytes are NUL.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    quoted = True
    typed = NUMBERS
    while True:
        with opening.opened(path, name) as packed:
            found, body = opened(opening.unpacked(packed, name), name, said, known)
            found = found if quoted else replace(found, quote="")
            types = _types(found, body, said, known, typed) if typed and not found.loose else {}
            if pa.int64() in types.values():
                body.after = f'\n{found.delimiter}"'.encode()
            try:
                if found.loose:
                    read = pa.Table.from_batches(list(_slow(found, body, name)))
                else:
                    read = _fast(found, body, types)
            except opening.UNPACKING:
                collections.deque(batches(path, name, said, known), 0)  # names the rows before
                raise
            except pa.ArrowInvalid as exc:
                if types:
                    typed = ()
                    continue
                if quoted and found.delimiter in "\t|":
                    quoted = False
                    continue
                raise _damage(exc, name) from exc
        if quoted and found.delimiter == "\t" and _swallowed(read):
            quoted = False
            continue
        if body.zeros:  # which the type forgets: read the whole numbers as text
            typed = (pa.float64(),)
            continue
        break
    columns, told = [], list(found.findings)
    for column_name, column in zip(found.names, read.columns, strict=True):
        text, finding = _decoded(column, column_name)
        columns.append(text)
        told += finding
    if body.nul:
        _refuse_nul(columns, found.names, name)
    if body.skipped:
        told += _left_out(*_numbered(path, name, said, found), name, found)
    told += _padding(body, name)
    return _part(name, found, columns, told)


class Misread(Exception):
    """A file has to be read again, as `table` does.

    Args:
        typed: The types that columns of numbers may have.
        quoted: With quotes that enclose values.
    """

    def __init__(self, *, typed: tuple[Any, ...], quoted: bool):
        super().__init__()
        self.typed, self.quoted = typed, quoted


def batches(
    path: Source,
    name: str,
    said: Csv,
    known: frozenset[str],
    *,
    quoted: bool = True,
    typed: tuple[Any, ...] = (),
    strict: bool = False,
    every: bool = False,
) -> Iterator[Part]:
    """The same rows block by block, at least one (perhaps without rows).

    Args:
        path: The file.
        name: How messages call it.
        said: What the user said of it.
        known: Names that columns may have.
        quoted: Whether quotes enclose values.
        typed: The types that plain numbers are read as; the others stay text.
        strict: Raise Misread where `table` would read the file again.
        every: Give rows of missing values for those among the others that have another number of
            fields, so that none is lacking.

    Raises:
        DataError: As `table`.
    """
    with opening.opened(path, name) as packed:
        found, body = opened(opening.unpacked(packed, name), name, said, known)
        found = found if quoted else replace(found, quote="")
        names = list(found.names)
        doubtful = strict and quoted and not found.loose
        types = _types(found, body, said, known, typed) if typed and not found.loose else {}
        types = {name: kind for name, kind in types.items() if kind != TEXT}
        if pa.int64() in types.values():
            body.after = f'\n{found.delimiter}"'.encode()
        nothing = [pa.array([], types.get(name, pa.string())) for name in names]
        yield _part(name, found, nothing, found.findings)
        total = placed = 0
        try:
            source = _slow(found, body, name) if found.loose else _streamed(found, body, types)
            for batch in source:
                if doubtful and found.delimiter == "\t" and _swallowed(batch):
                    raise Misread(typed=typed, quoted=False)
                rows = batch.num_rows
                if every and body.skipped:
                    batch, placed = _filled(batch, body.skipped, total, placed)
                total += rows
                read = [_decoded(c, n) for c, n in zip(batch.columns, names, strict=True)]
                texts = [column for column, _ in read]
                if body.nul:
                    _refuse_nul(texts, found.names, name)
                yield _part(name, found, texts, [each for _, odd in read for each in odd])
        except opening.UNPACKING as exc:
            raise opening.damaged(f"{name}: after {total:,} rows", exc) from exc
        except pa.ArrowInvalid as exc:
            if types:
                raise Misread(typed=(), quoted=quoted) from exc
            if doubtful and found.delimiter in "\t|":
                raise Misread(typed=(), quoted=False) from exc
            raise _damage(exc, name) from exc
        if body.zeros:
            raise Misread(typed=(pa.float64(),), quoted=quoted)
        last = _padding(body, name)
        if body.skipped:
            odd = _left_out(body.skipped, total + len(body.skipped), name, found)
            last += [
                replace(f, code="bad-rows") if every and f.code == "odd-rows" else f for f in odd
            ]
        if last:
            yield _part(name, found, nothing, last)


def _part(name: str, found: Dialect, columns: list[Any], findings: Sequence[Finding]) -> Part:
    table, repeated = _without_headers(pa.table(columns, names=list(found.names)), found, name)
    return Part(
        name=name,
        table=table,
        written=found.written,
        delimiter=found.delimiter,
        findings=_one_encoding([*findings, *repeated], name),
    )


def _without_headers(table: Any, found: Dialect, name: str) -> tuple[Any, list[Finding]]:
    """The rows without the header's names, as files that were put together have them."""
    written = [text.strip() for text in found.written]
    first = next((i for i, text in enumerate(written) if text), None)
    if first is None or not all(kinds.is_text(column.type) for column in table.columns):
        return table, []
    if not pc.any(pc.match_substring(kinds.values(table.column(first)), written[first])).as_py():
        return table, []
    header = np.ones(len(table), np.bool_)
    for column, text in zip(table.columns, written, strict=True):
        values = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        same = pc.equal(pc.fill_null(pc.utf8_trim(values, " \t\ufeff"), ""), text)
        header &= same.to_numpy(zero_copy_only=False)
        if not header.any():
            return table, []
    count = int(header.sum())
    return table.filter(pa.array(~header)), [
        Finding(code="repeated-header", column=name, count=count, of=len(table))
    ]


def _types(
    found: Dialect, body: Body, said: Csv, known: frozenset[str], typed: tuple[Any, ...]
) -> dict[str, Any]:
    """Name → the type that the first rows of a large file have, for columns that nobody named.

    Whole numbers are text where some begin with a zero: that says that they are codes.
    """
    if len(body.head) < dialect.HEAD_BYTES // 2 or said.decimal or said.thousands or said.missing:
        return {}
    sample = body.head[: body.head.rfind(b"\n", 0, SAMPLE_BYTES) + 1]
    settings = _settings(found, {}, [], threads=False)
    try:
        read = arrow.read_csv(io.BytesIO(sample), **settings).cast(
            pa.schema([(name, pa.string()) for name in found.names])
        )
    except pa.ArrowInvalid:
        return {}
    types = {}
    codes = False
    for name, column in zip(found.names, read.columns, strict=True):
        if name in known:
            continue  # what a person named is read from its texts
        texts = column.drop_null()
        plain = kinds.plain(texts) if len(texts) else None
        if plain is None:
            types[name] = TEXT
        elif not numbers.grouped(texts):  # else a point may separate thousands
            code = pc.any(pc.match_substring_regex(texts, kinds.CODE)).as_py()
            types[name] = TEXT if code else plain.type
            codes |= code
    if codes:
        typed = tuple(kind for kind in typed if kind != pa.int64())
    return {name: kind if kind in typed else TEXT for name, kind in types.items()}


def _settings(
    found: Dialect, types: Mapping[str, Any], skipped: list[Odd], *, threads: bool
) -> dict[str, Any]:
    def odd(row: Any) -> str:
        skipped.append(Odd(number=row.number or 0, fields=row.actual_columns, text=row.text))
        return "skip"

    return {
        "read_options": arrow.ReadOptions(
            use_threads=threads, block_size=BLOCK_BYTES, column_names=list(found.names)
        ),
        "parse_options": arrow.ParseOptions(
            delimiter=found.delimiter,
            quote_char=found.quote or False,
            escape_char=found.escape or False,
            newlines_in_values=bool(found.quote),
            invalid_row_handler=odd,
            ignore_empty_lines=len(found.names) > 1,  # else one is a missing value
        ),
        "convert_options": arrow.ConvertOptions(
            column_types={name: types.get(name, pa.binary()) for name in found.names},
            null_values=[""],
            strings_can_be_null=True,
        ),
    }


def _fast(found: Dialect, body: Body, types: Mapping[str, Any]) -> Any:
    try:
        return arrow.read_csv(body, **_settings(found, types, body.skipped, threads=True))
    except pa.ArrowInvalid as exc:
        if "Empty CSV" in str(exc) or "too short" in str(exc):
            return pa.table([pa.array([], pa.binary()) for _ in found.names], list(found.names))
        raise


def _streamed(found: Dialect, body: Body, types: Mapping[str, Any]) -> Iterator[Any]:
    try:
        yield from arrow.open_csv(body, **_settings(found, types, body.skipped, threads=False))
    except pa.ArrowInvalid as exc:
        if "Empty CSV" not in str(exc) and "too short" not in str(exc):
            raise


def _slow(found: Dialect, body: Body, name: str) -> Iterator[Any]:
    width, names = len(found.names), list(found.names)
    rows: list[list[str | None]] = []

    def batch() -> Any:
        columns = list(zip(*rows, strict=True)) or [()] * width
        return pa.record_batch([pa.array(c, pa.string()) for c in columns], names=names)

    lines = io.TextIOWrapper(
        io.BufferedReader(_Raw(body)), encoding="utf-8", errors="surrogateescape", newline=""
    )
    try:
        number = 0
        for fields in dialect.parsed(
            iter(lines), found.delimiter, loose=True, quote=found.quote or '"', escape=found.escape
        ):
            if not any(fields) and width > 1:
                continue
            number += 1
            if len(fields) != width:
                if len(fields) == width + 1 and not fields[-1]:
                    fields = fields[:-1]  # a blank at the end of the line
                else:
                    text = found.delimiter.join(fields)
                    body.skipped.append(Odd(number=number, fields=len(fields), text=text))
                    continue
            rows.append([_utf8(field) or None for field in fields])
            if len(rows) == SLOW_ROWS:
                yield batch()
                rows = []
    except csv.Error as exc:
        raise _long(name) from exc
    yield batch()


class _Raw(io.RawIOBase):
    """A body as the raw stream that Python's buffers want."""

    def __init__(self, body: Body) -> None:
        self.body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self.body.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


class _Decoded:
    """A stream in another encoding, in UTF-8."""

    def __init__(self, stream: BinaryIO, decoder: codecs.IncrementalDecoder) -> None:
        self.stream, self.decoder = stream, decoder

    def read(self, size: int = -1) -> bytes:
        while True:
            raw = self.stream.read(size)
            text = self.decoder.decode(raw, final=not raw)
            if text or not raw:
                return text.encode()


def _readable(text: str) -> str:
    """Text whose bytes were not all UTF-8, as Windows-1252."""
    return _utf8(text) if NOT_UTF8.search(text) else text


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return windows(text.encode(errors="surrogateescape"))
    return text


def windows(data: bytes) -> str:
    """Bytes that are not UTF-8, as Windows-1252, or as Latin-1 where that has no such character."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _bytes_before(text: str, lines: int) -> int:
    found = dialect.LINE.finditer(text)
    end = 0
    for _ in range(lines):
        end = next(found).end()
    return len(text[:end].encode(errors="surrogateescape"))


def _decoded(column: Any, name: str) -> tuple[Any, list[Finding]]:
    """A column of bytes as text; what is not UTF-8 is read as Windows-1252."""
    if pa.types.is_floating(column.type):
        return kinds.without_nan(column), []
    if not pa.types.is_binary(column.type):
        return column, []
    try:
        return column.cast(pa.string()), []
    except pa.ArrowInvalid:
        coded = kinds.coded(column)
        texts, odd = [], []
        for data in coded.dictionary.to_pylist():
            try:
                texts.append(data.decode())
            except UnicodeDecodeError:
                texts.append(windows(data))
                odd.append(len(texts) - 1)
        count = pc.sum(pc.is_in(coded.indices, pa.array(odd, coded.indices.type))).as_py()
        shown = tuple(texts[i][:40] for i in odd[:FEW])
        finding = Finding(code="encoding", column=name, count=count, values=shown)
        return pa.array(texts, pa.string()).take(coded.indices), [finding]


def _one_encoding(findings: Sequence[Finding], name: str) -> tuple[Finding, ...]:
    """One finding about the encoding of all columns."""
    odd = [each for each in findings if each.code == "encoding"]
    if not odd:
        return tuple(findings)
    values = tuple(dict.fromkeys(value for each in odd for value in each.values))[:FEW]
    whole = Finding(
        code="encoding", column=name, count=sum(each.count for each in odd), values=values
    )
    return (*(each for each in findings if each.code != "encoding"), whole)


def _swallowed(read: Any) -> bool:
    """Whether a quote that opens by chance has swallowed rows."""
    texts = (kinds.values(column) for column in read.columns if not _is_number(column.type))
    return any(pc.any(pc.match_substring_regex(text, "\n[^\n]*\t")).as_py() for text in texts)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _refuse_nul(columns: list[Any], names: tuple[str, ...], name: str) -> None:
    for column_name, column in zip(names, columns, strict=True):
        if _is_number(column.type):
            continue
        column = column.cast(pa.string())
        row = pc.index(pc.match_substring(column, "\0"), True).as_py()
        if row >= 0:
            raise DataError(
                f"{name}: row {row} (counting from 0), column {column_name[:80]!r}: expected text. "
                "Received: a NUL byte.",
                hint="Save the file as UTF-8; binary files are no tables.",
            )


def _filled(batch: Any, skipped: list[Odd], first: int, placed: int) -> tuple[Any, int]:
    """A batch with rows of missing values where rows stood that have another number of fields.

    Args:
        batch: The other rows.
        skipped: All rows with another number of fields so far.
        first: The other rows before the batch.
        placed: How many of the skipped ones stood before it.

    Returns:
        The batch, and how many of the skipped ones stood before its end.
    """
    at = [row.number - 1 - i - first for i, row in enumerate(skipped)]
    end = sum(place < batch.num_rows for place in at)
    some = [i for i in range(placed, end) if not skipped[i].text.lstrip().startswith("#")]
    rows = np.insert(np.arange(batch.num_rows), [at[i] for i in some], -1)
    return batch.take(pa.array(rows, mask=rows < 0)), end


def _padding(body: Body, name: str) -> list[Finding]:
    return [Finding(code="nul-bytes", column=name, count=body.padded)] if body.padded else []


def _numbered(path: Source, name: str, said: Csv, found: Dialect) -> tuple[list[Odd], int]:
    """The rows of a file with another number of fields, with their places, and all its rows."""
    with opening.opened(path, name) as packed:
        _, body = opened(opening.unpacked(packed, name), name, said, frozenset(found.names))
        source = _slow(found, body, name) if found.loose else _streamed(found, body, {})
        good = sum(batch.num_rows for batch in source)
    return body.skipped, good + len(body.skipped)


def _left_out(skipped: list[Odd], total: int, name: str, found: Dialect) -> list[Finding]:
    """Findings about rows with another number of fields: comments, a footer, and a few others.

    Args:
        skipped: These rows, in their order.
        total: All rows, with these.
        name: How messages call the file.
        found: Its dialect.

    Raises:
        DataError: There are too many of them, or one has a quote that does not close.
    """
    comments = [row for row in skipped if row.text.lstrip().startswith("#")]
    others = [row for row in skipped if row not in comments]
    footer = others[len(others) - _at_end(skipped, total, comments) :]
    among = others[: len(others) - len(footer)]
    quote = found.quote or '"'
    open_quote = any("\n" in row.text or row.text.count(quote) % 2 for row in others)
    if (
        open_quote
        or len(footer) > max(kinds.ODD, total // 20)
        or not kinds.are_few(len(among), total)
    ):
        row = others[0]
        raise DataError(
            f"{name}: row {row.number - 1} (counting from 0): expected {len(found.names)} fields, "
            f"as in the header. Received: {row.fields}: {row.text[:80]!r}.",
            hint="Correct the row; a field that holds the delimiter needs quotes, and a quote that "
            "opens must close.",
        )
    parts = (("comment-lines", comments), ("short-rows", footer), ("odd-rows", among))
    return [
        Finding(
            code=code,
            column=name,
            count=len(rows),
            of=total,
            values=tuple(row.text[:40] for row in rows[:FEW]),
        )
        for code, rows in parts
        if rows
    ]


def _at_end(skipped: list[Odd], total: int, comments: list[Odd]) -> int:
    """How many of the rows stand at the end of the file; comments among them do not count."""
    count = 0
    for place, row in enumerate(reversed(skipped)):
        if row.number != total - place:
            break
        count += row not in comments
    return count


def _damage(exc: Exception, name: str) -> DataError:
    if "straddling" in str(exc):
        return _long(name)
    return DataError(
        f"{name}: expected a CSV file. Received: {' '.join(str(exc).split())[:300]}",
        hint="Look for an open quote or a damaged line.",
    )


def _long(name: str) -> DataError:
    return DataError(
        f"{name}: expected rows of at most {BLOCK_BYTES >> 20} MiB. "
        "Received: a longer one, or a quote that is not closed.",
        hint="Look for an open quote or a damaged line.",
    )

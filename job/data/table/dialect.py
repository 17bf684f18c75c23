"""Dialect of a text file: encoding, delimiter, quotes, header and what stands above it."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from unicodedata import normalize

from job.config.csv import Csv
from job.data.findings import Finding
from job.data.table.kinds import SIGNS
from job.errors import DataError

HEAD_BYTES = 1 << 20
"""What the dialect is found from; a header must fit."""

ROWS = 200
"""Rows that are looked at."""

DELIMITERS = ",;\t|"

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
SINGLE_QUOTED = re.compile(r"\s*'[^'\r\n]+'(?:[ ]*[,;|\t][ ]*'[^'\r\n]+')+[ ]*(?:[\r\n]|\Z)")
"""A header whose names stand in single quotes."""

NUMBER = re.compile(r"[-+(]?[$€£]?\d[\d.,' ]*([eE][-+]?\d+)?[%)]?")
GENERATED = re.compile(r"x\d+")

TITLES, SEVERAL = 20, 5
"""Rows that may stand above one with a known name, and rows that show what columns hold."""

RECURRING = 0.5
"""Share of the first line's fields that must recur below to make it a row of values."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a text file is written.

    Attributes:
        encoding: A name that Python knows.
        delimiter: What stands between fields; a blank for any number of blanks and tabs.
        names: Of the columns, each once.
        written: The same as the file has them; empty for what it has no name for.
        above: Lines before the first row of values.
        loose: Whether quotes may follow blanks, so that Python's slow parser is needed.
        quote: What encloses a value that holds the delimiter; empty for nothing.
        escape: What stands before a quote in a value; empty where a quote is doubled.
        findings: What had to be assumed.
    """

    encoding: str
    delimiter: str
    names: tuple[str, ...]
    written: tuple[str, ...]
    above: int
    loose: bool = False
    quote: str = '"'
    escape: str = ""
    findings: tuple[Finding, ...] = ()


NO_TABLES = (
    ("<!doctype html", "a web page", "It may be a sign-in page: fetch the file itself."),
    ("<html", "a web page", "It may be a sign-in page: fetch the file itself."),
    ("version https://git-lfs", "a pointer of Git LFS", "`git lfs pull` fetches the file itself."),
)
"""(begin, what it is, hint) of files that are often taken for tables."""


def encoding_of(head: bytes, said: str) -> tuple[str, int]:
    """The encoding of a file, and the bytes of its mark."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if said:
        return said, 0
    zeros = [head[i:4096:2].count(0) for i in (0, 1)]
    some = len(head[:4096]) // 2
    if some and max(zeros) > some * 0.4 and min(zeros) < some * 0.1:
        return ("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"), 0
    return "utf-8", 0


def find(head: str, name: str, encoding: str, said: Csv, known: frozenset[str]) -> Dialect:
    """Finds the dialect.

    Args:
        head: The file's begin, decoded.
        name: How messages call it.
        encoding: Of the file.
        said: What the user said of it.
        known: Names that columns may have: a line with one of them is the header.

    Raises:
        DataError: It has no rows, or no line with the number that is said.
    """
    for begin, what, hint in NO_TABLES:
        if head.lstrip().lower().startswith(begin):
            raise DataError(f"{name}: expected a table. Received: {what}.", hint=hint)
    lines = LINE.findall(head)
    at = 0
    delimiter = said.delimiter
    first = lines[0].strip() if lines else ""
    if re.fullmatch(r"(?i)\"?sep=.\"?", first):
        delimiter = delimiter or first.strip('"')[4]
        at = 1
    loose = False
    quote = "'" if SINGLE_QUOTED.match(head) and not any("'" in each for each in known) else '"'
    if not delimiter:
        delimiter = _delimiter(lines[at:], known, quote)
    if delimiter == " ":
        loose = True
    elif re.search(
        rf"(?m)(?:^|{re.escape(delimiter)})[ \t]+{quote}[^{quote}\n]*{re.escape(delimiter)}", head
    ):
        loose = delimiter != "\t"
    rows = _rows(lines[at:], delimiter, loose, quote)
    if quote == '"' and '"' not in head and not _even(rows):
        other = _rows(lines[at:], delimiter, loose, "'")
        if _even(other):
            rows, quote = other, "'"
    escape = ""
    if f"\\{quote}" in head and not _even(rows):
        other = _rows(lines[at:], delimiter, loose, quote, "\\")
        if _even(other):
            rows, escape = other, "\\"
    if not any(field.strip() for _, fields in rows for field in fields):
        raise DataError(
            f"{name}: expected a header and rows. Received: an empty file.",
            hint="Check the program that wrote the file.",
        )
    top = header(rows, name, said, known)
    lines_above = at + top.above
    return Dialect(
        encoding=encoding,
        delimiter=delimiter,
        names=top.names,
        written=top.written,
        above=lines_above,
        loose=loose,
        quote=quote,
        escape=escape,
        findings=top.findings,
    )


@dataclass(frozen=True, kw_only=True)
class Header:
    """The names of a table's columns, and where its values begin.

    Attributes:
        names: Of the columns, each once.
        written: The same as the file has them; empty for what it has no name for.
        above: Lines before the first row of values.
        findings: What had to be assumed.
    """

    names: tuple[str, ...]
    written: tuple[str, ...]
    above: int
    findings: tuple[Finding, ...]


def header(
    rows: list[tuple[int, list[str]]], name: str, said: Csv, known: frozenset[str]
) -> Header:
    """Finds the names of the columns.

    Args:
        rows: (lines up to its end, fields) of the first rows; some field is not blank.
        name: How messages call the file.
        said: What the user said of it.
        known: Names that columns may have: a row with one of them has the names.

    Raises:
        DataError: No line has the number that is said.
    """
    raw, known = rows, frozenset(map(bare, known))
    rows = [(used, [bare(field) for field in fields]) for used, fields in raw]
    at, above = _header(rows, _width(rows), known, said, name)
    findings = []
    titles = tuple(" ".join(filter(None, rows[i][1]))[:60] for i in above)
    if titles:
        findings.append(Finding(code="title-lines", column=name, count=len(titles), values=titles))
    if at is None:
        first = next(i for i, (_, fields) in enumerate(rows) if any(fields) and i not in above)
        fields = rows[first][1]
        generated = tuple(f"x{i}" for i in range(len(fields)))
        if said.header != "no":
            findings.append(Finding(code="no-header", column=name, values=tuple(fields[:4])))
        return Header(
            names=generated,
            written=generated,
            above=rows[first - 1][0] if first else 0,
            findings=tuple(findings),
        )
    own = [raw[at][1][0].lstrip("#"), *raw[at][1][1:]]
    written = tuple(_widened(own, [each for _, each in rows[at + 1 :] if any(each)]))
    chosen, told = names(written, name)
    if _explains(rows, at):
        at += 1
        shown = tuple(filter(None, rows[at][1]))[:4]
        findings.append(Finding(code="second-header", column=name, count=1, values=shown))
    return Header(names=chosen, written=written, above=rows[at][0], findings=(*findings, *told))


def parsed(
    lines: Iterator[str], delimiter: str, *, loose: bool, quote: str = '"', escape: str = ""
) -> Iterator[list[str]]:
    """Rows of fields by Python's parser, which takes blanks around quotes and between fields.

    Raises:
        csv.Error: A field is larger than a row may be.
    """
    if delimiter == " ":
        lines = (line.replace("\t", " ").strip() + "\n" for line in lines)
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        skipinitialspace=loose,
        quotechar=quote,
        escapechar=escape or None,
    )
    for fields in reader:
        yield [field.rstrip("\r\n") for field in fields]


def _rows(
    lines: list[str], delimiter: str, loose: bool, quote: str, escape: str = ""
) -> list[tuple[int, list[str]]]:
    """(lines so far, fields) of the first rows."""
    used, found = 0, []

    def counted() -> Iterator[str]:
        nonlocal used
        for line in lines:
            used += 1
            yield line

    try:
        for fields in parsed(counted(), delimiter, loose=loose, quote=quote, escape=escape):
            found.append((used, fields))
            if len(found) == ROWS:
                break
    except csv.Error:
        pass  # what could be read before is enough, or nothing is
    return found


def _trimmed(rows: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """The same without blanks around fields and without empty rows."""
    trimmed = [(used, [bare(field) for field in fields]) for used, fields in rows]
    return [(used, fields) for used, fields in trimmed if any(fields)]


def _delimiter(lines: list[str], known: frozenset[str], quote: str) -> str:
    """The delimiter by which most rows have as many fields as the others; then the widest."""
    wanted = set(map(bare, known))
    best, rank = ",", (False, 0.0, False, 0)
    for delimiter in DELIMITERS:
        rows = [fields for _, fields in _trimmed(_rows(lines, delimiter, False, quote))]
        if not rows:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        named = any(wanted & set(fields) for fields in rows[:20])
        agree = count / len(rows)
        first = len(rows[0]) == width
        ranked = (named, round(agree, 1), first, width)
        if ranked > rank:
            best, rank = delimiter, ranked
    tabs = best == "\t" and len({len(fields) for _, fields in _rows(lines, "\t", False, quote)}) > 1
    if best == "\t" and not rank[0]:  # or columns that blanks align, but for a tab
        tabs |= all(re.search(r"\S {2,}\S", line) for line in lines if line.strip())
    if rank[3] < 2 or (not rank[0] and rank[1] < 0.6) or tabs:  # some lines with two tabs for one
        rows = [fields for _, fields in _trimmed(_rows(lines, " ", True, quote))]
        width, count = Counter(map(len, rows)).most_common(1)[0] if rows else (0, 0)
        if width > 1 and count >= (1 if tabs else 0.9) * len(rows):
            return " "
    return best


def _even(rows: list[tuple[int, list[str]]]) -> bool:
    """Whether rows have the same number of fields, several."""
    widths = {len(fields) for _, fields in rows if any(fields)}
    return len(widths) == 1 and widths != {1}


def _width(rows: list[tuple[int, list[str]]]) -> int:
    return Counter(len(fields) for _, fields in rows if any(fields)).most_common(1)[0][0]


def _header(
    rows: list[tuple[int, list[str]]], width: int, known: frozenset[str], said: Csv, name: str
) -> tuple[int | None, list[int]]:
    """The row with the names, or None; and the rows above the first one that counts."""
    if said.header.isdigit():
        wanted = int(said.header)
        at = next((i for i, (used, _) in enumerate(rows) if used >= wanted), None)
        if at is None:
            raise DataError(
                f"{name}: expected names in line {wanted}, as --csv header= says. "
                "Received: fewer lines.",
                hint="Count lines from 1.",
            )
        return at, [i for i in range(at) if any(rows[i][1])]
    at = _named(rows, known)
    if at is not None and said.header != "no":
        return at, [i for i in range(at) if any(rows[i][1])]
    headless = bool(known) and all(map(GENERATED.fullmatch, known))
    above: list[int] = []
    for i, (_, fields) in enumerate(rows):
        if not any(fields):
            continue
        if known & {field.lstrip("#").strip() for field in fields}:
            return (None if said.header == "no" else i), above
        if _is_title(fields, width) and i + 1 < len(rows):
            above.append(i)
            continue
        if said.header == "yes":
            return i, above
        if said.header == "no" or headless or _is_values(rows, i):
            return None, above
        return i, above
    return 0, []


def _named(rows: list[tuple[int, list[str]]], known: frozenset[str]) -> int | None:
    """A row of names below others: the first with a known name, if it has no numbers."""
    for at, (_, fields) in enumerate(rows[:TITLES]):
        if known & {field.lstrip("#").strip() for field in fields}:
            some = list(filter(None, fields))
            plain = len(set(some)) == len(some) > 1 and not any(map(NUMBER.fullmatch, some))
            return at if at and plain else None
    return None


def _explains(rows: list[tuple[int, list[str]]], at: int) -> bool:
    """Whether the row below the names has units or other names: words above columns of numbers."""
    if at + 1 >= len(rows):
        return False
    words = rows[at + 1][1]
    below = [fields for _, fields in rows[at + 2 :] if len(fields) == len(words)]
    if len(below) < SEVERAL or len(words) < 2:
        return False
    columns = list(zip(*below, strict=True))
    numeric = [
        i for i, values in enumerate(columns) if all(map(NUMBER.fullmatch, filter(None, values)))
    ]
    return (
        2 * len(numeric) > len(words)
        and not any(map(NUMBER.fullmatch, words))
        and all(re.search(r"[^\W\d_]{2}", words[i]) and words[i] not in SIGNS for i in numeric)
    )


def _is_title(fields: list[str], width: int) -> bool:
    """Whether a row is a title or a comment rather than names or values."""
    if fields[0].startswith("#"):
        return True
    filled = sum(map(bool, fields))
    if width < 2:
        return False
    return filled < width / 2 or (filled == 1 and bool(fields[0]))


def _is_values(rows: list[tuple[int, list[str]]], at: int) -> bool:
    """Whether a row has values in place of names."""
    first = rows[at][1]
    below = [fields for _, fields in rows[at + 1 :] if len(fields) == len(first)]
    if first == [str(i) for i in range(len(first))] and len(first) > 2:
        return False  # as pandas names columns
    if not below:
        return all(map(NUMBER.fullmatch, filter(None, first)))
    numbers = [i for i, field in enumerate(first) if NUMBER.fullmatch(field)]
    columns = list(zip(*below, strict=True))

    def mostly_numbers(i: int) -> bool:
        some = [value for value in columns[i] if value]
        return sum(bool(NUMBER.fullmatch(value)) for value in some) > 0.8 * len(some)

    numeric = [i for i in range(len(first)) if mostly_numbers(i)]
    if any(i not in numbers and first[i] for i in numeric):
        return False  # a name above numbers
    if numbers and len(numbers) == sum(map(bool, first)) and _years(first):
        return False
    if numbers:
        return True
    if len(set(first)) < len(first) or len(below) < 5:
        recurs = [first[i] in columns[i] for i in range(len(first))]
        return len(below) >= 2 and all(recurs)
    recurring = sum(first[i] in columns[i] for i in range(len(first)))
    return recurring >= RECURRING * len(first)


def _years(first: list[str]) -> bool:
    values = [int(field) for field in first if re.fullmatch(r"(19|20)\d\d", field)]
    return len(values) == len([f for f in first if f]) and values == list(
        range(min(values), max(values) + 1)
    )


def _widened(fields: list[str], below: list[list[str]]) -> list[str]:
    """As many names as there are values: rows may have one field more."""
    width = Counter(map(len, below)).most_common(1)[0][0] if below else 0
    if width != len(fields) + 1:
        return fields
    if all(not each[-1] for each in below if len(each) == width):
        return [*fields, ""]  # a delimiter at the end of each line
    return ["", *fields]  # names of rows without a name of their own


def bare(name: str) -> str:
    """A name without blanks around it, with letters and their accents as one character."""
    return normalize("NFC", name.strip())


def names(written: tuple[str, ...], name: str) -> tuple[tuple[str, ...], list[Finding]]:
    """A name of its own for each column: repeated ones get a number, empty ones their place.

    Args:
        written: The names as a file has them.
        name: How messages call the file.
    """
    written = tuple(map(bare, written))
    found: list[str] = []
    repeated = []
    own = {text for text in written if text}
    for i, text in enumerate(written):
        base = text or f"unnamed_{i}"
        chosen, count = base, 1
        while chosen in found or (count > 1 and chosen in own):
            count += 1
            chosen = f"{base}_{count}"
        if count > 1:
            repeated.append(text)
        found.append(chosen)
    findings = []
    if repeated:
        findings.append(Finding(code="repeated-name", column=name, values=tuple(repeated)))
    return tuple(found), findings

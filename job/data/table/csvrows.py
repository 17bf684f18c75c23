"""Where a CSV file has a row that is too long to parse: looked up only when there is one."""

import itertools
import re
from typing import BinaryIO


def giant(stream: BinaryIO, delimiter: str, names: list[str], limit: int) -> str:
    """The place of the first row that is longer than a limit, in words: row and widest field.

    Args:
        stream: The file at its start, header included.
        delimiter: Of its fields.
        names: Of its columns.
        limit: Bytes.
    """
    comma = delimiter.encode()
    pattern = rb'(?:"(?:[^"]++|"")*+"|(?!"))[^\r\n%b]*+' % re.escape(comma)
    field = re.compile(pattern)
    row = re.compile(rb"%b(?:%b%b)*+(?:\r\n?|\n)" % (pattern, re.escape(comma), pattern))
    stream.readline()
    number, window, at = 0, stream.read(4 * limit), 0
    while (found := row.match(window, at)) and found.end() - at <= limit:
        number += bool(found[0].strip(b"\r\n"))  # empty lines are no rows
        at = found.end()
        if len(window) - at < 2 * limit:
            window, at = window[at:] + stream.read(2 * limit), 0
    widest = column = 0
    for i in itertools.count():
        found = field.match(window, at)
        if found is None:  # an open quote
            column = i
            break
        if found.end() - at > widest:
            widest, column = found.end() - at, i
        if window[found.end() : found.end() + 1] != comma:
            break
        at = found.end() + 1
    name = names[min(column, len(names) - 1)]
    return f"row {number} (counting from 0), column {name[:80]!r}"

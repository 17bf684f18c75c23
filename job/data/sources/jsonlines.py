"""JSON Lines files of numbers, streamed."""

import json
import sys
from pathlib import Path
from typing import Any

from job.data.files import opening
from job.data.sources import batches


def blocks(path: Path, name: str, width: int) -> batches.Blocks:
    """Reads an object a line, whose values are numbers.

    Args:
        path: The file, packed with gzip or not.
        name: How messages call it.
        width: Numbers in a row; the first line's keys and their order hold for all.

    Raises:
        DataError: A line is something else.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa
    from pyarrow import json as arrow

    with opening.opened(path, name) as packed:
        stream = opening.unpacked(packed)
        first = batches.first_line(stream, name, width)
        if text := _problem(first, width):
            raise batches.bad_row(name, 0, text)
        keys = list(json.loads(first))

        def problem(line: str) -> str:
            text = _problem(line, width)
            other = not text and set(json.loads(line)) != set(keys)
            return "other keys than in the first row" if other else text

        with batches.diagnosed(name, path, width, problem):
            reader = arrow.open_json(
                stream,
                read_options=arrow.ReadOptions(
                    use_threads=False, block_size=batches.row_bytes(width)
                ),
                parse_options=arrow.ParseOptions(
                    explicit_schema=pa.schema([(key, pa.float64()) for key in keys]),
                    unexpected_field_behavior="error",
                ),
            )
            yield from batches.blocks(reader, name)


def _problem(line: str, width: int) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return f"{line[:80]!r}, which is not JSON,"
    if not isinstance(found, dict):
        return f"{line[:80]!r}, which is no object,"
    if len(found) != width:
        return f"{len(found)} values in place of {width}"
    return next((repr(value)[:80] for value in found.values() if not _is_number(value)), "")


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max

"""JSON Lines files → record batches of text columns, for rows to predict."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.data.files import opening
from job.errors import DataError

BATCH_ROWS = 8192

LINE_BYTES = 8 << 20


def batches(path: Path, name: str) -> Iterator[Any]:
    """Reads an object a line; null, NaN and absent keys are missing values.

    Args:
        path: The file, UTF-8, packed with gzip or not.
        name: How messages call it.

    Yields:
        Arrow record batches of text columns with the first line's keys.

    Raises:
        DataError: A line is no object, holds lists or objects, or has a key of its own.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    with opening.opened(path, name) as packed:
        stream = opening.unpacked(packed, name)
        rows: list[dict[str, str | None]] = []
        keys: list[str] = []
        numbered = enumerate(iter(lambda: stream.readline(LINE_BYTES), b""))
        for number, line in numbered:
            if not line.strip():
                continue
            row = _row(line, f"{name}: line {number + 1}")
            keys = keys or list(row)
            if other := row.keys() - keys:
                raise DataError(
                    f"{name}: line {number + 1}: expected the keys of the first line, or some of "
                    f"them. Received: {min(other)[:80]!r} besides.",
                    hint="Correct the key; or write it in the first line, too, with null for a "
                    "value that is not known.",
                )
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                yield _batch(rows, keys)
                rows = []
        if rows:
            yield _batch(rows, keys)


def _batch(rows: list[dict[str, str | None]], keys: list[str]) -> Any:
    import pyarrow as pa

    return pa.record_batch(
        [pa.array([row.get(key) for row in rows], pa.string()) for key in keys], names=keys
    )


def _row(line: bytes, where: str) -> dict[str, str | None]:
    try:
        found = json.loads(line)
        if not isinstance(found, dict) or not found:
            raise _bad(where, f"{line[:80]!r}")
        row = {str(key): _text(value, where) for key, value in found.items()}
        "".join([*row, *(value or "" for value in row.values())]).encode()
    except (ValueError, RecursionError) as exc:  # a lone surrogate is one of them
        raise _bad(where, f"{line[:80]!r}") from exc
    return row


def _text(value: Any, where: str) -> str | None:
    if value is None or value != value:  # NaN
        return None
    if isinstance(value, list | dict) or "\0" in str(value):
        raise _bad(where, f"{str(value)[:80]!r} as a value")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bad(where: str, received: str) -> DataError:
    return DataError(
        f"{where}: expected a JSON object of names and plain values. Received: {received}.",
        hint='Write each row as {"column": value, …} on a line of its own.',
    )

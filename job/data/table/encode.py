"""Typed columns → the raw columns that a published model takes, and → the arrays to train on."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.data.findings import Finding
from job.data.place import Place
from job.data.schema import MISSING_INTEGER, MISSING_TEXT, Column, Schema
from job.data.table import kinds, words
from job.data.table.frame import Frame, blocks

WINDOW = 1 << 21
"""Values that are brought into form at once."""

Raw = dict[str, NDArray[Any]]
"""Column → (rows,) float32, int64, or text as Python strings: what the published model takes."""

Typed = Mapping[str, Any]
"""Column → (rows,) Arrow values as `kinds.applied` gives them."""


def typed(frame: Frame, schema: Schema) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The columns of a schema from new rows, and findings about values that became missing."""
    columns: dict[str, Any] = {}
    findings: list[Finding] = []
    for column in schema.columns:
        columns[column.name], told = kinds.applied(frame.column(column.name), column)
        findings += told
    return columns, tuple(findings)


def raw(columns: Typed, schema: Schema) -> Raw:
    """The columns of a schema as the published model takes them."""
    return {column.name: _raw(columns[column.name], column) for column in schema.columns}


def compact(
    columns: Typed,
    schema: Schema,
    name: str,
    *,
    sides: Sequence[NDArray[np.int64]],
    place: Place,
) -> list[dict[str, NDArray[Any]]]:
    """The rows as the trained network takes them: the smallest form that loses nothing.

    Args:
        columns: All rows.
        schema: The columns.
        name: How messages call the file.
        sides: Those that are wanted, ascending, such as the training rows and the test rows.
        place: Where they go.

    Returns:
        For each side `numbers`, (rows, numbers) float32 with NaN for what is missing; `codes`,
        (rows, lookups) int32 as `lookup` gives them; `times`, (rows, datetimes) int64 seconds since
        1970 UTC with MISSING_INTEGER; `words`, (rows, tokens of all texts) int32 as `words.codes`
        gives them; each only when there are such columns.

    Raises:
        DataError, StoreError: As `Place.array`.
    """
    every: tuple[tuple[str, tuple[Column, ...], Any, Callable[..., NDArray[Any]]], ...] = (
        ("numbers", schema.numbers, np.float32, _raw),
        ("codes", schema.lookups, np.int32, lookup),
        ("times", schema.times, np.int64, _raw),
    )
    parts = [part for part in every if part[1]]
    found = [
        {key: place.array((len(rows), len(some)), dtype, name) for key, some, dtype, _ in parts}
        for rows in sides
    ]
    total = len(next(iter(columns.values())))
    starts = range(0, total, max(1, WINDOW // len(schema.columns)))
    ends = [np.searchsorted(rows, [*starts, total]) for rows in sides]

    def fill(window: int) -> None:
        """Some rows of all columns, since a row's values lie side by side."""
        start = starts[window]
        for key, some, dtype, values in parts:
            block = np.empty((min(starts.step, total - start), len(some)), dtype)
            for i, column in enumerate(some):
                chunk = columns[column.name].slice(start, starts.step)
                if isinstance(chunk, pa.ChunkedArray):
                    chunk = chunk.combine_chunks()
                block[:, i] = values(chunk, column)
            for arrays, rows, end in zip(found, sides, ends, strict=True):
                to = slice(end[window], end[window + 1])
                np.take(block, rows[to] - start, axis=0, out=arrays[key][to], mode="clip")

    with ThreadPoolExecutor(place.threads) as pool:
        list(pool.map(fill, range(len(starts))))
    if schema.texts:
        for arrays, rows in zip(found, sides, strict=True):
            arrays["words"] = _words(columns, schema, name, rows, place)
    return found


def _words(
    columns: Typed, schema: Schema, name: str, rows: NDArray[np.int64], place: Place
) -> NDArray[np.int32]:
    found = place.array((len(rows), sum(column.words for column in schema.texts)), np.int32, name)
    left = 0
    for column in schema.texts:
        tokens = tuple(map(str, column.categories))
        at = 0
        for block in blocks(columns[column.name], rows):
            texts = block.cast(pa.string())  # whose dictionary is of this block
            codes = words.codes(texts, tokens, column.words)
            found[at : at + len(block), left : left + column.words] = codes
            at += len(block)
        left += column.words
    return found


def lookup(typed: Any, column: Column) -> NDArray[Any]:
    """(rows,) 0 for what is not in the vocabulary, else 1 + its place there."""
    if column.dtype == "string":
        coded = kinds.coded(typed)
        known = pa.array(list(column.categories), pa.string())
        table = pc.fill_null(pc.index_in(coded.dictionary, known), -1)
        places = np.append(table.to_numpy(zero_copy_only=False).astype(np.int64) + 1, 0)
        at = pc.fill_null(coded.indices, len(places) - 1).to_numpy(zero_copy_only=False)
        codes: NDArray[Any] = places[at]
        missing = coded.indices
    else:
        found = pc.index_in(typed, pa.array(list(column.categories), pa.int64()))
        codes = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        missing = typed
    if column.has_missing and missing.null_count:
        codes[pc.is_null(missing).to_numpy(zero_copy_only=False)] = len(column.vocabulary)
    return codes


def _raw(typed: Any, column: Column) -> NDArray[Any]:
    if column.dtype == "float32":
        floats = typed.to_numpy(zero_copy_only=False)  # NaN for null
        numbers: NDArray[Any] = floats.astype(np.float32)
        return numbers
    if column.dtype == "int64":
        integers: NDArray[Any] = pc.fill_null(typed, MISSING_INTEGER).to_numpy(zero_copy_only=False)
        return integers
    coded = kinds.coded(typed)
    texts = np.array([*coded.dictionary.to_pylist(), MISSING_TEXT], dtype=object)
    found: NDArray[Any] = texts[
        pc.fill_null(coded.indices, len(texts) - 1).to_numpy(zero_copy_only=False)
    ]
    return found

"""Typed columns → the raw columns that a published model takes, and → the arrays to train on."""

from collections.abc import Mapping
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
    rows: NDArray[np.int64],
    place: Place,
) -> dict[str, NDArray[Any]]:
    """The rows as the trained network takes them: the smallest form that loses nothing.

    Args:
        columns: All rows.
        schema: The columns.
        name: How messages call the file.
        rows: Those that are wanted, ascending.
        place: Where they go.

    Returns:
        `numbers`, (rows, numbers) float32 with NaN for what is missing; `codes`, (rows, lookups)
        int32 as `lookup` gives them; `times`, (rows, datetimes) int64 seconds since 1970 UTC with
        MISSING_INTEGER; `words`, (rows, tokens of all texts) int32 as `words.codes` gives them;
        each only when there are such columns.

    Raises:
        DataError, StoreError: As `Place.array`.
    """
    parts = (
        ("numbers", schema.numbers, np.float32, _raw),
        ("codes", schema.lookups, np.int32, lookup),
        ("times", schema.times, np.int64, _raw),
    )
    found = {}
    for key, some, dtype, values in parts:
        if some:
            found[key] = place.array((len(rows), len(some)), dtype, name)
            each = [blocks(columns[column.name], rows) for column in some]
            at = 0
            # All columns of some rows, since a row's values lie side by side.
            for together in zip(*each, strict=True):
                last = at + len(together[0])
                for i, (column, block) in enumerate(zip(some, together, strict=True)):
                    found[key][at:last, i] = values(block, column)
                at = last
    if schema.texts:
        width = sum(column.words for column in schema.texts)
        found["words"] = place.array((len(rows), width), np.int32, name)
        left = 0
        for column in schema.texts:
            tokens = tuple(map(str, column.categories))
            at = 0
            for block in blocks(columns[column.name], rows):
                texts = block.cast(pa.string())  # whose dictionary is of this block
                codes = words.codes(texts, tokens, column.words)
                found["words"][at : at + len(block), left : left + column.words] = codes
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
        floats = pc.fill_null(typed, float("nan")).to_numpy(zero_copy_only=False)
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

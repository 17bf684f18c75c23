"""New rows against the schema of a model: what must not differ, and what is worth a word."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from job.data.findings import FEW, Finding
from job.data.schema import Column, Schema
from job.data.table import encode, kinds
from job.data.table.frame import Frame
from job.errors import DataError

NOTABLE = 0.01
"""Share of unseen categories below which nothing is said."""


def check(frame: Frame, schema: Schema, kept: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Compares the columns.

    Args:
        frame: The new rows.
        schema: The model's columns.
        kept: Columns that predictions carry.

    Returns:
        A finding about columns that are new, which are ignored.

    Raises:
        DataError: A column that the model needs is missing.
    """
    missing = [c.name for c in schema.columns if frame.column(c.name) is None]
    if missing:
        shown = ", ".join(repr(name[:60]) for name in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        have = ", ".join(repr(name[:60]) for name in list(frame.columns)[:8])
        raise DataError(
            f"{frame.name}: expected the columns that the model was trained on. "
            f"Received: {have}, …; without {shown}{more}.",
            hint="Add the columns (empty values are allowed), with their names as in training.",
        )
    known = {c.name for c in schema.columns} | {schema.label, schema.group, *schema.ignored, *kept}
    written = {own: name for name, own in frame.written.items()}
    new = [
        name
        for name, column in frame.columns.items()
        if not {name, written.get(name, name)} & known
        and name not in frame.index
        and not (name.startswith("unnamed_") and column.null_count == len(column))
    ]
    if not new:
        return ()
    return (Finding(code="new-columns", count=len(new), values=tuple(new)),)


def unseen(columns: Mapping[str, Any], schema: Schema) -> tuple[Finding, ...]:
    """Findings about columns with many values that training did not see, or that are missing."""
    found = []
    for column in (*schema.numbers, *schema.times):
        values = columns[column.name]
        if values.null_count > NOTABLE * len(values) and not column.has_missing:
            found.append(_finding("newly-missing", column, values.null_count, values))
    for column in schema.lookups:
        values = columns[column.name]
        odd = encode.lookup(values, column) == 0
        if odd.mean() > NOTABLE:
            shown = values.filter(pa.array(odd))
            if pa.types.is_dictionary(shown.type):
                shown = kinds.coded(shown).cast(pa.string())
            some = tuple("" if v is None else str(v) for v in pc.unique(shown)[:FEW].to_pylist())
            found.append(_finding("unseen-values", column, int(odd.sum()), values, some))
    return tuple(found)


def _finding(
    code: str, column: Column, count: int, values: Any, some: tuple[str, ...] = ()
) -> Finding:
    return Finding(code=code, column=column.name, count=count, of=len(values), values=some)

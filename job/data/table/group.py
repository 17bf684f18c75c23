"""The group column: its values choose the side of a row; a row without one is hashed by itself."""

from typing import Any

import numpy as np

from job.data import hashing
from job.data.reading import Reading
from job.data.schema import Schema
from job.data.table.frame import Frame
from job.errors import DataError


def hashes(frame: Frame, name: str, own: tuple[str, ...], warnings: list[str]) -> hashing.Hashes:
    """(rows,) hashes of the group column.

    Args:
        frame: The table.
        name: The column.
        own: What a row without a group is hashed by.
        warnings: Gets a sentence when there are such rows.

    Raises:
        DataError: The column is of a type that has no equal values in other files.
    """
    array = _values(frame, name)
    found = hashing.rows({name: array})
    if array.null_count and own:
        warnings.append(
            f"{array.null_count:,} of {len(frame):,} rows have no value in --group {name[:80]!r}: "
            "each belongs to no other row."
        )
        alone = hashing.rows({column: frame.columns[column] for column in own})
        found = np.where(array.is_null().to_numpy(), alone, found)
    return found


def own(frame: Frame, name: str, schema: Schema, reading: Reading) -> tuple[str, ...]:
    """The columns that rows without a group were hashed by in training; none if all have one."""
    if not _values(frame, name).null_count:
        return ()
    names = (*(column.name for column in schema.columns), *schema.ignored)
    wanted = set(reading.columns or names) - set(reading.exclude)
    return tuple(column for column in names if column in wanted)


def _values(frame: Frame, name: str) -> Any:
    """The column as it is hashed: numbers, booleans and any text; dates as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = frame.columns[name]
    if pa.types.is_string(array.type):
        return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.string()), array)
    if array.type in (pa.int64(), pa.float64(), pa.bool_(), pa.null()):
        return array
    if pa.types.is_timestamp(array.type):  # in any unit and time zone
        text = array.cast(pa.timestamp("us"), safe=False).cast(pa.string())
        return pc.replace_substring_regex(text, r"\.0+$", "")  # as most write whole seconds
    if pa.types.is_date(array.type):
        return array.cast(pa.date32()).cast(pa.string())
    raise DataError(
        f"{frame.name}: column {name[:80]!r}: expected numbers, text, booleans or dates for "
        f"--group. Received: {str(array.type)[:100]}.",
        hint="Name another column in --group, or write this one as text.",
    )

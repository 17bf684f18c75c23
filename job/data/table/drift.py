"""New rows against the schema of a model: what must not differ, and what is worth a word."""

from job.data.schema import Schema
from job.data.table import encode, kinds
from job.data.table.frame import Frame
from job.errors import DataError

NOTABLE = 0.01
"""Share of unseen categories below which nothing is said."""


def check(frame: Frame, schema: Schema) -> tuple[str, ...]:
    """Compares the columns.

    Returns:
        A sentence about columns that are new, which are ignored.

    Raises:
        DataError: A column that the model needs is missing.
    """
    missing = [c.name for c in schema.columns if c.name not in frame.columns]
    if missing:
        shown = ", ".join(repr(name[:60]) for name in missing[:8])
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        have = ", ".join(repr(name[:60]) for name in list(frame.columns)[:8])
        raise DataError(
            f"{frame.name}: expected the columns that the model was trained on. "
            f"Received: {have}, …; without {shown}{more}.",
            hint="Add the columns (empty values are allowed), with their names as in training.",
        )
    known = {c.name for c in schema.columns} | {schema.label, schema.group, *schema.ignored}
    new = [name for name in frame.columns if name not in known]
    if not new:
        return ()
    shown = ", ".join(repr(name[:60]) for name in new[:8])
    more = f" and {len(new) - 8} more" if len(new) > 8 else ""
    return (f"Columns that training did not have, and that are ignored: {shown}{more}.",)


def unseen(frame: Frame, schema: Schema) -> tuple[str, ...]:
    """Sentences about columns with many values that training did not see, or that are missing."""
    said = []
    for column in schema.numbers:
        share = frame.columns[column.name].null_count / max(len(frame), 1)
        if share > NOTABLE and not column.has_missing:
            said.append(
                f"Column {column.name[:80]!r}: {share:.1%} of the values are missing; "
                "in training none were."
            )
    for column in schema.lookups:
        codes = encode.lookup(kinds.demanded(frame, column.name, kinds.target_of(column)), column)
        share = float((codes == 0).mean())
        if share > NOTABLE:
            said.append(
                f"Column {column.name[:80]!r}: {share:.1%} of the values were not seen in training."
            )
    return tuple(said)

"""A schema from training rows: what each column is, and which columns say nothing."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.reading import Reading
from job.data.schema import Column, Kind, Schema
from job.data.table.frame import Frame
from job.data.table.kinds import check_finite, demanded
from job.errors import DataError, UsageError

FEW = 10
"""Whole numbers with at most so many values are categories."""

MANY = 255
"""Categories that are kept of a column, the most frequent ones; the rest share a slot."""

ENOUGH = 20
"""Rows below which nothing is called an identifier."""

IDENTIFIER = re.compile(r"(?i)(^|.*[_ -])(id|uuid|guid|key|index)$|^unnamed: 0$")

COMMON = 5
"""Most frequent values that the schema remembers."""


def chosen(frame: Frame, reading: Reading) -> tuple[str, ...]:
    """The columns that are candidates for the model's input, in the order of the file.

    Raises:
        DataError: The label is not a column.
        UsageError: An option names a column that is not there, or the label.
    """
    names = list(frame.columns)
    if reading.label not in frame.columns:
        shown = ", ".join(repr(name[:40]) for name in names[:12])
        raise DataError(
            f"{frame.name}: expected a column {reading.label!r}, as --label says. "
            f"Received: {shown}{f' and {len(names) - 12} more' if len(names) > 12 else ''}.",
            hint="Check --label; if these are values, the file lacks its header.",
        )
    for option in ("columns", "exclude", "number", "category"):
        for name in getattr(reading, option):
            if name not in frame.columns or name == reading.label:
                what = "the label" if name == reading.label else "no such column"
                raise UsageError(
                    f"--{option}: expected columns of {frame.name}. Received: {name!r}, {what}.",
                    hint="`mlp-job data` lists the columns; quote a name that holds a space.",
                )
    for one, other in (("number", "category"), ("columns", "exclude")):
        for name in set(getattr(reading, one)) & set(getattr(reading, other)):
            raise UsageError(
                f"--{one}: expected other columns than --{other}. Received: {name!r} in both.",
                hint="Leave it out of one of them.",
            )
    if reading.group is not None and reading.group not in frame.columns:
        raise UsageError(
            f"--group: expected a column of {frame.name}. Received: {reading.group!r}.",
            hint="`mlp-job data` lists the columns.",
        )
    out = {reading.label, reading.group, *reading.exclude}
    wanted = set(reading.columns or names) - out
    return tuple(name for name in names if name in wanted)


def fit(
    frame: Frame, typed: dict[str, Any], fit_rows: NDArray[np.int64], reading: Reading
) -> tuple[Schema, tuple[str, ...]]:
    """What the columns are, by the rows that the gradient sees.

    Args:
        frame: The training rows.
        typed: The candidates, as `kinds.guessed` gives them.
        fit_rows: Rows of the frame.
        reading: What the user said of the columns.

    Returns:
        The schema, and a sentence for each column that was left out.

    Raises:
        DataError: No column is left, or a number is infinite.
    """
    import pyarrow as pa

    columns, dropped = [], []
    part, indices = frame.take(fit_rows), pa.array(fit_rows)
    for name, array in typed.items():
        seen = array.take(indices)
        told = name in reading.number or name in reading.category
        reason = _useless(name, seen, told=told)
        if reason:
            dropped.append(f"Column {name[:80]!r} is left out: {reason}.")
        elif name not in reading.category and (name in reading.number or _kind(seen) == "number"):
            columns.append(_number(name, demanded(part, name, "number"), part))
        else:
            columns.append(_category(name, seen, forced=name in reading.category, part=part))
    if not columns:
        raise DataError(
            f"{frame.name}: expected a column to learn from besides the label. Received: none. "
            + " ".join(dropped),
            hint="Check --columns and --exclude; --category keeps a column that looks useless.",
        )
    used = {column.name for column in columns} | {reading.label, reading.group}
    schema = Schema(
        columns=tuple(columns),
        label=str(reading.label),
        group=reading.group,
        rows=len(fit_rows),
        ignored=tuple(name for name in frame.columns if name not in used),
    )
    return schema, tuple(dropped)


def _useless(name: str, seen: Any, *, told: bool) -> str:
    import pyarrow as pa
    import pyarrow.compute as pc

    present = seen.drop_null()
    distinct = pc.count_distinct(present).as_py() if len(present) else 0
    if distinct + bool(seen.null_count) < 2:
        if distinct and pa.types.is_floating(seen.type) and abs(present[0].as_py()) >= 2**53:
            return "its numbers are too large to tell apart as floating-point numbers"
        return "it has one value in all training rows" if distinct else "it has no values"
    if told or len(present) < ENOUGH:
        return ""
    if pa.types.is_string(seen.type) and distinct > len(present) / 2:
        return f"it looks like an identifier or free text ({distinct:,} different values)"
    if pa.types.is_integer(seen.type) and distinct == len(present):
        bounds = pc.min_max(present)
        dense = bounds["max"].as_py() - bounds["min"].as_py() < 2 * len(present)
        if dense or IDENTIFIER.match(name):
            return "it looks like an identifier (every value is different)"
    return ""


def _kind(seen: Any) -> Kind:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(seen.type):
        return "boolean"
    if pa.types.is_string(seen.type):
        return "category"
    if pa.types.is_floating(seen.type):
        whole = seen.null_count and pc.all(pc.equal(pc.floor(seen), seen)).as_py()
        if not whole:  # whole numbers become floats where some are missing
            return "number"
    return "category" if pc.count_distinct(seen.drop_null()).as_py() <= FEW else "number"


def _number(name: str, values: Any, part: Frame) -> Column:
    import pyarrow.compute as pc

    with np.errstate(over="ignore"):
        numbers = pc.fill_null(values, float("nan")).to_numpy().astype(np.float32)
    check_finite(part, name, numbers)
    present = numbers[~np.isnan(numbers)].astype(np.float64)
    mean = float(np.float32(present.mean()))
    variance = float(np.square(present - mean).mean())
    noise = (float(np.finfo(np.float32).eps) * mean) ** 2
    largest = float(np.finfo(np.float32).max)  # which squares beyond 1.8e19 exceed
    return Column(
        name=name,
        kind="number",
        has_missing=len(present) < len(numbers),
        missing=len(numbers) - len(present),
        distinct=len(np.unique(present)),
        mean=mean,
        variance=1.0 if variance <= noise else float(np.float32(min(variance, largest))),
        minimum=float(present.min()),
        maximum=float(present.max()),
    )


def _category(name: str, seen: Any, *, forced: bool, part: Frame) -> Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind: Kind = "boolean" if pa.types.is_boolean(seen.type) and not forced else "category"
    if kind == "boolean":
        values = seen.cast(pa.int64())
    else:
        whole = pa.types.is_integer(seen.type) or (_kind(seen) == "category" and not forced)
        text = pa.types.is_string(seen.type) or not whole
        values = demanded(part, name, "text" if text else "integer")
    counted = pc.value_counts(values.drop_null()).to_pylist()
    counted.sort(key=lambda each: (-each["counts"], each["values"]))
    common = tuple((each["values"], each["counts"]) for each in counted)
    # What occurs once stays out, so that the slot for the unknown has something to learn from.
    kept = [value for value, count in common[:MANY] if count > 1] or [v for v, _ in common[:MANY]]
    return Column(
        name=name,
        kind=kind,
        categories=(0, 1) if kind == "boolean" else tuple(sorted(kept)),
        has_missing=values.null_count > 0,
        missing=values.null_count,
        distinct=len(common),
        most_common=common[:COMMON],
    )

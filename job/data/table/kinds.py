"""Text → typed columns: guessed in training, demanded afterwards."""

import shlex
from typing import Any, Literal

import numpy as np

from job.data.schema import Column
from job.data.table.frame import Frame
from job.errors import DataError

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(inf|Inf|infinity|Infinity)\s*$"
LARGEST = str(2**63 - 1)
WHOLE = (  # of up to 18 digits, or of 19 that int64 can hold
    r"^\s*[+-]?(\d{1,18}|"
    + "".join(
        rf"{LARGEST[:i]}[{int(i == 0)}-{int(digit) - 1}]\d{{{18 - i}}}|"
        for i, digit in enumerate(LARGEST)
        if digit != "0"
    )
    + rf"{LARGEST})\s*$"
)
WHOLE_FLOAT = r"^\s*[+-]?\d{1,15}\.0*\s*$"
DAY = r"(0?[1-9]|[12]\d|3[01])"  # or a month
DATE = (
    r"^\s*(\d{4}-\d\d-\d\d|(19|20)\d\d/\d\d?/\d\d?"
    rf"|{DAY}/{DAY}/((19|20)?\d\d)|{DAY}\.{DAY}\.(19|20)\d\d|{DAY}-{DAY}-(19|20)\d\d)"
    r"([T ]\d\d?:\d\d.*)?\s*$"
)
DECIMAL_COMMA = r"^\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*$"
TRUE, FALSE = ["true"], ["false"]

MOSTLY = 0.5
"""A text column of which this share are numbers was meant as numbers."""

Target = Literal["number", "boolean", "integer", "text"]


def guessed(frame: Frame, name: str) -> Any:
    """A column as what its values look like: int64, float64, bool or string.

    Raises:
        DataError: Numbers and text are mixed, or the values are dates or of a type that no model
            takes.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = frame.columns[name]
    if not pa.types.is_string(array.type):
        known = (pa.int64(), pa.float64(), pa.bool_(), pa.null())
        if array.type in known:
            return array
        raise _unfit(frame, name, str(array.type)[:100])
    array = _blank_is_missing(array)
    present = array.drop_null()
    if not len(present):
        return pa.chunked_array([pa.nulls(len(array))])
    share = _share(present, NUMBER)
    if share == 1:
        kind: Target = "integer" if _share(present, WHOLE) == 1 else "number"
        return _parsed(array, kind)
    if pc.all(pc.is_in(pc.utf8_lower(present), pa.array(TRUE + FALSE))).as_py():
        return _parsed(array, "boolean")
    if _share(present, DATE) == 1:
        raise _unfit(frame, name, f"dates such as {present[0].as_py()[:40]!r}")
    if share == 0 and _share(present, DECIMAL_COMMA) == 1:
        raise DataError(
            f"{frame.name}: column {name[:80]!r}: expected numbers with a decimal point. "
            f"Received: {present[0].as_py()[:40]!r}.",
            hint="Write a point in place of the comma; if these are no numbers, name the column in "
            "--category, or leave it out with --exclude.",
        )
    if share >= MOSTLY:
        row = _first(pc.invert(pc.match_substring_regex(array, NUMBER)))
        raise frame.bad(
            row,
            name,
            "a number, as most values of the column are",
            repr(array[row].as_py()[:80]),
            hint="Correct the value or leave it empty, or name the column in --category.",
        )
    return array


def demanded(
    frame: Frame, name: str, target: Target, *, why: str = ", as in training", way_out: str = ""
) -> Any:
    """A column as what it must be: float64, bool, int64 or string; missing values are null.

    Args:
        frame: The table.
        name: The column.
        target: What its values must be.
        why: Says so in the message.
        way_out: Ends the hint.

    Raises:
        DataError: A value is something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = frame.columns[name]
    types = {
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "text": pa.string(),
    }
    if pa.types.is_null(array.type):
        return array.cast(types[target])
    if target == "integer" and array.type == pa.int64() and pc.min(array).as_py() != -(2**63):
        return array  # exactly; the one number stands for missing ones
    is_text = pa.types.is_string(array.type)
    if array.type not in types.values():
        raise _unfit(frame, name, str(array.type)[:100])
    if is_text:
        array = _blank_is_missing(array)
    if target == "text":
        whole = (
            pa.types.is_floating(array.type) and pc.all(pc.equal(pc.floor(array), array)).as_py()
        )
        return (array.cast(pa.int64(), safe=False) if whole else array).cast(pa.string())
    if is_text and target == "boolean":
        good = pc.is_in(pc.utf8_lower(array), pa.array([*TRUE, *FALSE, "0", "1"]))
    elif is_text:
        good = pc.match_substring_regex(array, WHOLE if target == "integer" else NUMBER)
        if target == "integer":  # 7.0 is how pandas writes 7 where values are missing
            good = pc.or_(good, pc.match_substring_regex(array, WHOLE_FLOAT))
    else:
        numbers = array.cast(pa.float64(), safe=False)  # from 2**53 on, integers are rounded
        good = {
            "number": pc.true_unless_null(numbers),
            "boolean": pc.is_in(numbers, pa.array([0.0, 1.0])),
            "integer": pc.and_(
                pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0**62)
            ),
        }[target]
    row = _first(pc.and_(pc.invert(good), pc.is_valid(array)))
    if row >= 0:
        what = {"number": "a number", "boolean": "true or false", "integer": "a whole number"}
        raise frame.bad(
            row,
            name,
            f"{what[target]}{why}",
            repr(str(array[row].as_py())[:80]),
            hint=f"Correct the value, or leave it empty if it is not known{way_out}.",
        )
    return _parsed(array, target) if is_text else array.cast(types[target], safe=False)


def target_of(column: Column) -> Target:
    """What the values of a column must be."""
    if column.kind == "category":
        return "text" if column.dtype == "string" else "integer"
    return "boolean" if column.kind == "boolean" else "number"


def check_finite(frame: Frame, name: str, values: Any) -> None:
    """Refuses what is not finite in float32.

    Args:
        frame: Knows the places.
        name: The column.
        values: (rows,) float32, missing ones NaN.

    Raises:
        DataError: A value is infinite.
    """
    infinite = np.isinf(values)
    if infinite.any():
        raise frame.bad(
            int(infinite.argmax()),
            name,
            "a finite float32 number",
            "an infinite or a too large one",
            hint="Leave the value empty if it is not known, or remove the row.",
        )


def _parsed(array: Any, target: Target) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(array)
    if target == "boolean":
        yes = pc.is_in(pc.utf8_lower(text), pa.array([*TRUE, "1"]))
        return pc.if_else(pc.is_valid(text), yes, pa.scalar(None, pa.bool_()))
    bare = pc.if_else(pc.starts_with(text, "+"), pc.utf8_slice_codeunits(text, 1), text)
    if target == "integer":
        return pc.replace_substring_regex(bare, r"\.0*$", "").cast(pa.int64())
    return bare.cast(pa.float64())


def _blank_is_missing(array: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    blank = pc.equal(array, "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), array)


def _share(present: Any, pattern: str) -> float:
    import pyarrow.compute as pc

    return float(pc.mean(pc.match_substring_regex(present, pattern)).as_py())


def _first(wrong: Any) -> int:
    """The first row where a mask is true; -1 if none; missing values are not wrong."""
    import pyarrow.compute as pc

    return int(pc.index(pc.fill_null(wrong, False), True).as_py())


def _unfit(frame: Frame, name: str, received: str) -> DataError:
    return DataError(
        f"{frame.name}: column {name[:80]!r}: expected numbers, text or booleans. "
        f"Received: {received}.",
        hint="Leave it out, or turn it into numbers first (a date into days): "
        f'`--exclude "{shlex.quote(name)}"`.',
    )

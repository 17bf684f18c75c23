"""Column types: found from all values of a column in training, applied to new rows afterwards.

A typed column is an Arrow array of int64, float64, bool, timestamp("s"), dictionary of text, or
null; missing values are null.
"""

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.config.csv import Csv
from job.data.findings import FEW as SHOWN
from job.data.findings import Finding
from job.data.place import MEMORY, Place
from job.data.place import counts as occurring
from job.data.schema import MAGNITUDES, Column, Parsing
from job.data.table import dates, numbers
from job.data.table.frame import FIRST, blocks
from job.errors import DataError

SIGNS = (
    *("?", "-", "--", "---", ".", "..", "*", "\u2013", "\u2014", "\\N", "<NA>", "NaT", "nil"),
    *("NA", "N/A", "n/a", "na", "N.A.", "n.a.", "NaN", "nan", "NAN", "-nan", "NULL", "null"),
    *("Null", "None", "none", "NONE", "(null)", "(NULL)", "#N/A", "#NA", "#DIV/0!", "#VALUE!"),
    *("#REF!", "#NAME?", "#NUM!", "#NULL!", "missing", "Missing", "MISSING"),
    *("0000-00-00", "0000-00-00 00:00:00", "9999-12-31", "9999-12-31 00:00:00"),  # of databases
)
"""What stands for a missing value in a column that is otherwise numbers, booleans or dates."""

CODE = r"^[+-]?0\d+$"
"""A whole number that begins with a zero, as codes do: 01161."""

BOOLEANS = {"true": True, "false": False}

FEW = 10
"""Whole numbers with at most so many values are categories."""

TYPOS, ODD = 0.01, 3
"""Share and number of values that may be read as missing when they are not like the others."""

WORDS_SHARE, WORDS = 0.2, 3
"""Share and number of words without a digit that stand for missing among many numbers."""

MOSTLY = 0.5
"""From this share of numbers on, a column of text deserves a warning."""

LARGEST = float(np.finfo(np.float32).max)

UNIX = re.compile(
    r"(?i:(^|.*[_ .-])(unix|epoch|timestamp|ts|time|date|datetime|at|created|updated|modified|utc)"
    r"([_ -]?(s|ms|sec|millis|utc))?$)|.*[a-z](Time|Timestamp|Date|At|Ts|Ms)(Ms|Utc|UTC)?$"
)
DATED = re.compile(r"(?i).*(date|day|datum|_dt|^dt)")

COUNTED = ("days", "seconds", "milliseconds")
"""How numbers count time."""

TIMESTAMP = pa.timestamp("s")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """A column with its type.

    Attributes:
        array: The values.
        parsing: How its texts were read.
        findings: What had to be assumed.
        decimal: The decimal sign that it proves for the file; empty for none.
        ambiguous: Whether its decimal sign may be another one.
        number: Whether the user said that it is numbers.
        plain: Whether its numbers are written as a program writes them.
        there: Whether the values lie in their place already.
    """

    array: Any
    parsing: Parsing
    findings: tuple[Finding, ...] = ()
    decimal: str = ""
    ambiguous: bool = False
    number: bool = False
    plain: bool = False
    there: bool = False


def interpreted(
    name: str,
    raw: Any,
    csv: Csv,
    *,
    number: bool = False,
    category: bool = False,
    text: bool = False,
    likely: str = "",
    place: Place = MEMORY,
) -> Typed:
    """Finds the type of a column.

    Args:
        name: Its name; a whole number is a time when it is named so.
        raw: Its values as the file has them.
        csv: What the user said of the file.
        number: Whether it is to be numbers.
        category: Whether it is to be categories.
        text: Whether it is to be free text.
        likely: The decimal sign of the file's other columns.
        place: Where numbers that were texts go.
    """
    parsing = Parsing(missing=csv.missing, trimmed=True, composed=True)
    if category or text:
        return Typed(array=as_text(raw, parsing), parsing=parsing)
    if not is_text(raw.type):
        return _of_types(name, raw, parsing, number=number)
    if raw.null_count == len(raw):
        return Typed(array=pa.nulls(len(raw)), parsing=parsing)
    if not csv.missing and not csv.decimal and not csv.thousands:
        found = plain(raw, place)
        if found is not None:
            point = "." if pa.types.is_floating(found.type) else ""
            maybe = bool(point) and numbers.grouped(values(raw).drop_null())
            if not (maybe and likely == ","):
                codes = () if number or point else _codes(name, raw)
                if codes:
                    return Typed(array=as_text(raw, parsing), parsing=parsing, findings=codes)
                point = "" if maybe else point
                typed = _numbers(name, found, parsing, decimal=point, number=number)
                return replace(typed, plain=True, there=typed.array is found)
    return _of_texts(name, raw, csv, parsing, number=number, likely=likely)


def applied(raw: Any, column: Column) -> tuple[Any, tuple[Finding, ...]]:
    """A column of new rows in the type that it had in training.

    Returns:
        float64 for a number, int64 for a category of whole numbers, a boolean or a datetime, and
        a dictionary of text; and a finding about values that cannot be read and became missing.
    """
    parsing = column.parsing
    if column.dtype == "string":  # what is a value is none that is missing
        missing = tuple(sign for sign in parsing.missing if sign not in column.categories)
        return as_text(raw, replace(parsing, missing=missing)), ()
    if parsing.dates in COUNTED and (
        pa.types.is_integer(raw.type) or pa.types.is_floating(raw.type)
    ):
        read = _unix(raw.cast(pa.int64(), safe=False), parsing.dates)
    elif not is_text(raw.type):
        read = _of_types(column.name, raw, parsing, number=column.kind == "number").array
    else:
        read = plain(raw) if _is_plain(parsing) else None
        if read is None:
            coded = _coded(raw, parsing)
            read = _reread(coded.dictionary, column).take(coded.indices)
    read = cast(read, column)
    if read.null_count == raw.null_count:
        return read, ()
    lost = raw.filter(pc.and_(pc.is_valid(raw), pc.is_null(read)))
    if _is_temporal(raw.type):
        lost = as_written(lost)
    elif is_text(raw.type):
        lost = lost.cast(pa.string())
        lost = lost.filter(pc.invert(_is_sign(pc.utf8_trim_whitespace(lost), parsing.missing)))
    if not len(lost):
        return read, ()
    shown = tuple(map(str, pc.unique(lost)[:SHOWN].to_pylist()))
    found = Finding(
        code="bad-values", column=column.name, count=len(lost), of=len(raw), values=shown
    )
    return read, (found,)


def _codes(name: str, raw: Any) -> tuple[Finding, ...]:
    """A finding when whole numbers are codes, since some begin with a zero; else nothing."""
    texts = _coded(raw, Parsing(trimmed=True))
    code = pc.match_substring_regex(texts.dictionary, CODE)
    if not pc.any(code).as_py():
        return ()
    rows = counts(texts)
    count = int(rows[code.to_numpy(zero_copy_only=False)].sum())
    of = int(rows.sum())
    widths = pc.unique(pc.utf8_length(texts.dictionary))
    if are_few(count, of) and len(widths) > 1:
        return ()
    shown = tuple(texts.dictionary.filter(code)[:SHOWN].to_pylist())
    return (Finding(code="leading-zeros", column=name, count=count, of=of, values=shown),)


def _rewritten(
    name: str, found: numbers.Found, texts: Any, rows: NDArray[np.int64]
) -> tuple[Finding, ...]:
    """A finding about numbers with a unit behind them, or a minus."""
    shape = r"\p{L}$" if found.unit == MAGNITUDES else "." if found.unit else numbers.MINUS_BEHIND
    some = pc.match_substring_regex(texts, shape).to_numpy(zero_copy_only=False) & (rows > 0)
    if not some.any():
        return ()
    at = int(np.flatnonzero(some)[0])
    shown = (texts[at].as_py(), f"{found.values[at]:g}")
    return (Finding(code="units", column=name, count=int(rows[some].sum()), values=shown),)


def _is_plain(parsing: Parsing) -> bool:
    """Whether numbers as a program writes them mean what they say."""
    if parsing.unit not in ("", MAGNITUDES):
        return False
    if parsing.decimal != "." or parsing.thousands == "." or parsing.dates.endswith("-first"):
        return False
    return parsing.dates == "" and not any(map(_is_number, parsing.missing))


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def as_text(raw: Any, parsing: Parsing) -> Any:
    """The values as trimmed text, dictionary-encoded; what is empty or named missing is null."""
    kind = raw.type
    if pa.types.is_null(kind):
        return pa.nulls(len(raw), pa.string()).dictionary_encode()
    if pa.types.is_floating(kind):
        raw = (raw.cast(pa.int64(), safe=False) if is_whole(raw) else raw).cast(pa.string())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        raw = raw.cast(pa.string())
    elif _is_temporal(kind):
        raw = as_written(raw)
    elif not is_text(kind):
        return pa.nulls(len(raw), pa.string()).dictionary_encode()
    coded = _coded(raw, parsing)
    missing = pc.is_in(coded.dictionary, pa.array(["", *parsing.missing]))
    if not pc.any(missing).as_py():
        return coded
    kept = pc.if_else(missing, pa.scalar(None, pa.string()), coded.dictionary)
    return kept.take(coded.indices).dictionary_encode()


def is_whole(floats: Any) -> bool:
    """Whether all are whole numbers that int64 holds."""
    whole = pc.all(pc.equal(pc.floor(floats), floats)).as_py()
    return bool(whole) and (pc.max(pc.abs(floats)).as_py() or 0) < 2**62


def as_written(raw: Any) -> Any:
    """Dates and times as ISO 8601 text, as a CSV would hold them."""
    if pa.types.is_timestamp(raw.type):
        text = raw.cast(pa.timestamp("us"), safe=False).cast(pa.string())
        return pc.replace_substring_regex(text, r"\.0+$", "")
    if pa.types.is_date(raw.type):
        return raw.cast(pa.date32()).cast(pa.string())
    return raw.cast(pa.string())


def is_usable(kind: Any) -> bool:
    """Whether a model can learn from a column of an Arrow type."""
    known = (pa.int64(), pa.float64(), pa.bool_(), pa.null())
    return kind in known or is_text(kind) or _is_temporal(kind)


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is text, coded in a dictionary or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind))


def values(raw: Any) -> Any:
    """The texts of a column, each at least once."""
    return coded(raw).dictionary if pa.types.is_dictionary(raw.type) else raw


def coded(raw: Any) -> Any:
    """One dictionary array of a column of text."""
    found = raw if pa.types.is_dictionary(raw.type) else pc.dictionary_encode(raw)
    if isinstance(found, pa.ChunkedArray):
        if found.num_chunks == 0:
            return pa.array([], raw.type).dictionary_encode()
        if found.num_chunks == 1:
            found = found.chunk(0)
        else:
            found = found.unify_dictionaries().combine_chunks()
    if found.dictionary.null_count:  # which a file may have for a text
        found = found.cast(found.type.value_type).dictionary_encode()
    return found


def _is_temporal(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


def _of_types(name: str, raw: Any, parsing: Parsing, *, number: bool) -> Typed:
    """A column that the file has types for."""
    kind = raw.type
    if _is_temporal(kind):
        typed = Typed(array=_since_1970(raw), parsing=replace(parsing, dates="month-first"))
        lost = raw.filter(pc.and_(pc.is_valid(raw), pc.is_null(typed.array)))
        if not len(lost):
            return typed
        shown = tuple(as_written(pc.unique(lost)[:SHOWN]).to_pylist())
        far = Finding(code="odd-values", column=name, count=len(lost), of=len(raw), values=shown)
        return replace(typed, findings=(far,))
    if kind in (pa.int64(), pa.float64()):
        point = "." if kind == pa.float64() else ""
        return replace(_numbers(name, raw, parsing, decimal=point, number=number), plain=True)
    if kind == pa.bool_() and number:
        return Typed(array=raw.cast(pa.int64()).cast(pa.float64()), parsing=parsing)
    if kind == pa.bool_() or pa.types.is_null(kind):
        return Typed(array=raw, parsing=parsing)
    found = Finding(code="unusable-type", column=name, values=(str(kind)[:100],))
    return Typed(array=pa.nulls(len(raw)), parsing=parsing, findings=(found,))


def _since_1970(raw: Any) -> Any:
    """Times in seconds; null for those of no year that texts may have."""
    if pa.types.is_time(raw.type):
        seconds = raw.cast(pa.time64("us")).cast(pa.int64())
        return pc.divide(seconds, 1_000_000).cast(pa.int64()).cast(TIMESTAMP)
    if pa.types.is_date(raw.type):
        raw = raw.cast(pa.date32()).cast(pa.timestamp("s"))
    if raw.type.tz is not None:
        raw = raw.cast(pa.timestamp(raw.type.unit))
    if raw.type.unit != "s":
        raw = pc.floor_temporal(raw, unit="second")
    seconds = raw.cast(TIMESTAMP, safe=False).cast(pa.int64())
    low, high = bounds(seconds)
    if low is not None and (low < dates.FIRST or high >= dates.END):
        good = pc.and_(pc.greater_equal(seconds, dates.FIRST), pc.less(seconds, dates.END))
        seconds = pc.if_else(good, seconds, pa.scalar(None, pa.int64()))
    return seconds.cast(TIMESTAMP)


def plain(raw: Any, place: Place = MEMORY) -> Any:
    """Numbers as a program writes them, or None; NaN is missing."""
    if place.streamed and pa.types.is_string(raw.type):
        try:
            raw.slice(0, FIRST).cast(pa.float64())
        except pa.ArrowInvalid:
            return None
        for one, kind in ((_whole_number, pa.int64()), (_number, pa.float64())):
            with contextlib.suppress(pa.ArrowInvalid):
                return place.column(map(one, blocks(raw)), kind, "a column")
        return None
    if pa.types.is_dictionary(raw.type):
        texts = coded(raw)
        found = plain(texts.dictionary)
        return None if found is None else found.take(texts.indices)
    try:
        raw.slice(0, FIRST).cast(pa.float64())
    except pa.ArrowInvalid:
        return None  # a long column of text takes Arrow seconds to fail on
    for one in (_whole_number, _number):
        with contextlib.suppress(pa.ArrowInvalid):
            return one(raw)
    return None


def _whole_number(texts: Any) -> Any:
    found = texts.cast(pa.int64())
    if pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("Arrow reads 0x10, which no program writes for a number.")
    return found


def _number(texts: Any) -> Any:
    return without_nan(texts.cast(pa.float64()))


def without_nan(floats: Any) -> Any:
    """The same with null in place of NaN."""
    odd = pc.is_nan(floats)
    if not pc.any(odd).as_py():
        return floats
    return pc.if_else(odd, pa.scalar(None, pa.float64()), floats)


def _numbers(
    name: str,
    array: Any,
    parsing: Parsing,
    *,
    findings: tuple[Finding, ...] = (),
    decimal: str = "",
    ambiguous: bool = False,
    number: bool = False,
) -> Typed:
    """A column of numbers: times where they are named so, without what float32 cannot hold."""
    times = "" if number else _times(name, array)
    if times:
        since = _unix(array.cast(pa.int64(), safe=False), times)
        return Typed(array=since, parsing=replace(parsing, dates=times), findings=findings)
    if pa.types.is_floating(array.type):
        array, large = _in_float32(array)
        if large:
            found = Finding(code="too-large", column=name, count=large, of=len(array))
            findings = (*findings, found)
    elif number:
        array = array.cast(pa.float64(), safe=False)
    return Typed(
        array=array,
        parsing=parsing,
        findings=findings,
        decimal=decimal,
        ambiguous=ambiguous,
        number=number,
    )


def _in_float32(array: Any) -> tuple[Any, int]:
    low, high = bounds(array)  # which takes no memory, and mostly is enough
    if low is None or -LARGEST <= low <= high <= LARGEST:
        return array, 0
    with np.errstate(over="ignore"):
        good = pc.less_equal(pc.abs(array), LARGEST)
    large = int(pc.sum(pc.invert(good)).as_py() or 0)
    if large:
        array = pc.if_else(good, array, pa.scalar(None, pa.float64()))
    return array, large


def bounds(numbers: Any) -> tuple[Any, Any]:
    """The smallest and the largest of int64 or float64 values; None where there are none."""
    if numbers.null_count or not len(numbers):
        found = pc.min_max(numbers)
        return found["min"].as_py(), found["max"].as_py()
    chunks = numbers.chunks if isinstance(numbers, pa.ChunkedArray) else [numbers]
    each = [chunk.to_numpy() for chunk in chunks if len(chunk)]  # NumPy is faster
    return min(part.min() for part in each).item(), max(part.max() for part in each).item()


def _times(name: str, array: Any) -> str:
    """How numbers that are named so count time: seconds, milliseconds, days; or empty."""
    if not (UNIX.match(name) or DATED.match(name)):
        return ""
    low, high = bounds(array)
    if low is None:
        return ""
    if UNIX.match(name) and low >= 5e8 and high < 5e9:  # 1985 to 2128
        return "seconds"
    if UNIX.match(name) and low >= 5e11 and high < 5e12:
        return "milliseconds"
    if DATED.match(name) and low >= 18_000_101 and high <= 22_001_231:
        good = _unix(array.cast(pa.int64(), safe=False), "days").null_count == array.null_count
        return "days" if good else ""
    return ""


def _unix(integers: Any, count: str) -> Any:
    if count == "days":
        text = integers.cast(pa.string())
        iso = pc.replace_substring_regex(text, r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3")
        return _dates(coded(iso), day_first=False)
    scale = 1 if count == "seconds" else 1000
    return pc.divide(integers, scale).cast(TIMESTAMP)


def _of_texts(
    name: str, raw: Any, csv: Csv, parsing: Parsing, *, number: bool, likely: str
) -> Typed:
    coded = _coded(raw, parsing)
    texts = coded.dictionary
    rows = counts(coded)
    empty = _is_in(texts, ("", *parsing.missing))
    sign = _is_in(texts, SIGNS) & ~empty
    present = ~empty & ~sign
    total = int(rows[present].sum())
    if not total:  # signs only: then they are values
        return Typed(array=as_text(raw, parsing), parsing=parsing)

    def assumed(odd: NDArray[np.bool_], sign: NDArray[np.bool_] = sign) -> tuple[Finding, ...]:
        """What is said of the values that become missing."""
        of, findings = len(raw), []
        for code, mask in (("missing-signs", sign), ("odd-values", odd)):
            if mask.any():
                at = np.flatnonzero(mask)[:SHOWN]
                shown = tuple(texts.take(pa.array(at)).to_pylist())
                count = int(rows[mask].sum())
                findings.append(Finding(code=code, column=name, count=count, of=of, values=shown))
        return tuple(findings)

    found = numbers.recognised(
        texts, rows * present, decimal=csv.decimal, thousands=csv.thousands, likely=likely
    )
    good = present & ~np.isnan(found.values)
    if number and not good.any():
        first = texts.filter(pa.array(present))[0].as_py()
        raise DataError(
            f"Column {name[:80]!r}: expected numbers, as --number says. "
            f"Received: {first[:80]!r} and the like.",
            hint="If the column is text, leave it out of --number.",
        )
    if good.any() and (number or _is_column(rows, present, good, texts, found.whole)):
        codes = () if number or not found.whole or found.unit else _codes(name, coded)
        if codes:
            return Typed(array=as_text(raw, parsing), parsing=parsing, findings=codes)
        values = np.where(good, found.values, np.nan)
        array = _whole(values) if found.whole else pa.array(values, from_pandas=True)
        signs = tuple(texts.filter(pa.array(sign)).to_pylist())
        read = replace(
            parsing, decimal=found.decimal, thousands=found.thousands, marks=found.marks,
            unit=found.unit, missing=(*parsing.missing, *signs),
        )  # fmt: skip
        findings = (*assumed(present & ~good), *_rewritten(name, found, texts, rows * good))
        if found.ambiguous:
            signed = pc.match_substring_regex(texts, r"\d[.,]\d")
            first = texts.filter(pc.and_(signed, pa.array(good)))[0].as_py()
            value = str(values[pc.index(texts, first).as_py()])
            findings += (Finding(code="ambiguous-numbers", column=name, values=(first, value)),)
        proof = "" if found.open or found.whole else found.decimal
        return _numbers(
            name, array.take(coded.indices), read, findings=findings, decimal=proof,
            ambiguous=found.open, number=number,
        )  # fmt: skip
    truth = np.array([BOOLEANS.get(t.lower()) for t in texts.to_pylist()]) if len(
        texts
    ) <= 64 else np.array([None])  # fmt: skip
    if len(truth) == len(texts) and all(t is not None for t in truth[present]):
        array = pa.array([bool(t) if p else None for t, p in zip(truth, present, strict=True)])
        return Typed(
            array=array.take(coded.indices), parsing=parsing,
            findings=assumed(np.zeros(len(texts), np.bool_)),
        )  # fmt: skip
    day_first, sure = (csv.day_first, True) if csv.day_first is not None else dates.order(
        texts, rows * present
    )  # fmt: skip
    when = dates.seconds(texts, day_first=day_first)
    dated = present & (when != dates.MISSING)
    far = pc.match_substring_regex(texts, dates.FAR).to_numpy(zero_copy_only=False) & ~dated
    if dated.any() and _is_column(rows, present & ~far, dated, texts, False):
        sign |= far & present
        findings = assumed(present & ~dated & ~far, sign)
        if not sure:
            at = int(np.flatnonzero(dated)[0])
            shown = (texts[at].as_py(), str(np.datetime64(int(when[at]), "s").astype("M8[D]")))
            findings += (Finding(code="ambiguous-dates", column=name, values=shown),)
        signs = tuple(texts.filter(pa.array(sign)).to_pylist())
        order = "day-first" if day_first else "month-first"
        read = replace(parsing, dates=order, missing=(*parsing.missing, *signs))
        array = pa.array(when, mask=~dated).cast(TIMESTAMP)
        return Typed(array=array.take(coded.indices), parsing=read, findings=findings)
    findings = ()
    share = int(rows[good].sum()) / total
    if share >= MOSTLY:
        odd = present & ~good
        shown = tuple(texts.take(pa.array(np.flatnonzero(odd)[:SHOWN])).to_pylist())
        findings = (
            Finding(
                code="mixed-column", column=name, count=int(rows[odd].sum()), of=total, values=shown
            ),
        )
    return Typed(array=as_text(raw, parsing), parsing=parsing, findings=findings)


def _is_column(
    rows: NDArray[np.int64],
    present: NDArray[np.bool_],
    good: NDArray[np.bool_],
    texts: Any,
    whole: bool,
) -> bool:
    """Whether what is not good among the values that are present may count as missing."""
    odd = present & ~good
    if not odd.any():
        return True
    count, total = int(rows[odd].sum()), int(rows[present].sum())
    if whole and int(good.sum()) <= FEW:
        return False  # then each value is a category
    if are_few(count, total):
        return True
    words = texts.filter(pa.array(odd))
    bare = not pc.any(pc.match_substring_regex(words, r"\d")).as_py()
    many = int(good.sum()) > 10 * FEW or (not whole and int(good.sum()) > FEW)
    return bare and many and len(words) <= WORDS and count <= WORDS_SHARE * total


def are_few(count: int, total: int) -> bool:
    """Whether what is not like the others may be an accident."""
    return count <= max(ODD, TYPOS * total) and 10 * count <= total


def _whole(values: NDArray[np.float64]) -> Any:
    """int64 where it holds the numbers exactly."""
    array = pa.array(values, from_pandas=True)
    if (pc.max(pc.abs(array)).as_py() or 0) >= 2**53:
        return array
    return array.cast(pa.int64())


def _coded(raw: Any, parsing: Parsing) -> Any:
    """A dictionary array of the texts, trimmed if the parsing says so."""
    found = coded(raw)
    texts = found.dictionary
    if not parsing.trimmed:
        return found
    trimmed = pc.utf8_trim_whitespace(texts)
    if parsing.composed:
        trimmed = pc.utf8_normalize(trimmed, form="NFC")
    if trimmed.equals(texts):
        return found
    again = trimmed.dictionary_encode()
    return pa.DictionaryArray.from_arrays(again.indices.take(found.indices), again.dictionary)


def counts(coded: Any) -> NDArray[np.int64]:
    """(texts,) how often each text of a dictionary array occurs."""
    at = coded.indices.drop_null().to_numpy(zero_copy_only=False)
    return occurring(at, len(coded.dictionary))


def _is_in(texts: Any, signs: tuple[str, ...]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_in(texts, pa.array(signs, pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def _is_sign(texts: Any, missing: tuple[str, ...]) -> Any:
    return pc.is_in(texts, pa.array(["", *missing, *SIGNS]))


def _reread(texts: Any, column: Column) -> Any:
    """(n,) values of a column's type from distinct texts; null for what cannot be read."""
    parsing, missing = column.parsing, _is_sign(texts, column.parsing.missing)
    texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
    if not parsing.trimmed:  # the first version took blanks around a number
        texts = pc.utf8_trim_whitespace(texts)
    if column.kind == "boolean":
        low = pc.utf8_lower(texts)
        known = pc.is_in(low, pa.array(["true", "false", "1", "0"]))
        truth = pc.is_in(low, pa.array(["true", "1"])).cast(pa.int64())
        return pc.if_else(known, truth, pa.scalar(None, pa.int64()))
    if parsing.dates in ("day-first", "month-first"):
        return _dates(texts.dictionary_encode(), day_first=parsing.dates == "day-first")
    exact = _integers(texts) if column.dtype == "int64" and not parsing.dates else None
    if exact is not None:
        return exact
    values = numbers.parse(texts, parsing)
    array = pa.array(values, from_pandas=True)
    if parsing.dates:
        return _unix(_whole(values).cast(pa.int64(), safe=False), parsing.dates)
    return array


def _integers(texts: Any) -> Any:
    try:
        return texts.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _dates(found: Any, *, day_first: bool) -> Any:
    texts = pc.fill_null(found.dictionary, "")
    when = dates.seconds(texts, day_first=day_first)
    array = pa.array(when, mask=when == dates.MISSING).cast(TIMESTAMP)
    return array.take(found.indices)


def cast(values: Any, column: Column) -> Any:
    """Typed values in the form that the model takes: float64 or int64."""
    if column.dtype == "string":
        return values
    if column.kind == "number":
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        values = values.cast(pa.float64(), safe=False)
        return _in_float32(values)[0]
    if column.kind == "datetime":
        if not pa.types.is_timestamp(values.type):
            return pa.nulls(len(values), pa.int64())
        return values.cast(pa.int64())
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int64())
    if pa.types.is_floating(values.type):
        good = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**62))
        if column.kind == "boolean":
            good = pc.is_in(values, pa.array([0.0, 1.0]))
        values = pc.if_else(good, values, pa.scalar(None, pa.float64()))
        return values.cast(pa.int64())
    if not pa.types.is_integer(values.type):
        return pa.nulls(len(values), pa.int64())
    reserved = pc.equal(values, dates.MISSING)
    if column.kind == "boolean":
        reserved = pc.invert(pc.is_in(values, pa.array([0, 1])))
    return pc.if_else(reserved, pa.scalar(None, pa.int64()), values)

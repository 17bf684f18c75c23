"""Dates and times as people write them → seconds since 1970 UTC.

Read are ISO 8601 with and without a zone, year-month, day and month in either order, English month
names, clock times, and 20260131T101500. The order of day and month holds for a whole column.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = r"(?P<month>(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[A-Za-z]{0,6})\.?"
WEEKDAY = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[A-Za-z]{0,6}\.?,? )?"
CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"(?: ?(?P<half>(?i:am|pm|a\.m\.|p\.m\.)))?"
    r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?))?"
)
TIME = rf"(?:(?:T|,? | at ){CLOCK})?"
YEAR = r"(?P<year>(?:1[6-9]|2[0-2])\d\d)"
SHAPES = (
    rf"^{YEAR}-(?P<month>\d\d?)(?:-(?P<day>\d\d?){TIME})?$",
    rf"^{YEAR}/(?P<month>\d\d?)(?:/(?P<day>\d\d?){TIME})?$",
    rf"^{YEAR}\.(?P<month>\d\d?)\.(?P<day>\d\d?){TIME}$",
    rf"^{YEAR}(?P<month>\d\d)(?P<day>\d\d)T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?Z?$",
    rf"^{WEEKDAY}(?P<day>\d\d?)(?:st|nd|rd|th)?[ /-]?{MONTH}[ /,-]{{0,2}}"
    rf"(?P<year>\d{{4}}|\d\d){TIME}$",
    rf"^{WEEKDAY}{MONTH} ?(?P<day>\d\d?)(?:st|nd|rd|th)?,? (?P<year>\d{{4}}){TIME}$",
    rf"^{MONTH}[ /,-]{{0,2}}(?P<year>\d{{4}}|\d\d)$",
    rf"^{YEAR}[ /-]{MONTH}(?:[ /-](?P<day>\d\d?))?$",
    rf"^{CLOCK}$",
)
EITHER = (
    rf"^(?P<one>\d\d?)/(?P<two>\d\d?)/(?P<year>\d{{4}}|\d\d){TIME}$",
    rf"^(?P<one>\d\d?)-(?P<two>\d\d?)-(?P<year>\d{{4}}){TIME}$",
    rf"^(?P<one>\d\d?)\.(?P<two>\d\d?)\.(?P<year>\d{{4}}){TIME}$",
)
LENGTHS = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])

MISSING = np.iinfo(np.int64).min
"""What is no date."""

DAY = 86_400

FIRST, END = -11_676_096_000, 10_413_792_000
"""Seconds of 1600-01-01 and of 2300-01-01, between which years are read."""

FAR = r"^\d{4,6}-\d\d-\d\d"
"""How a date of another year begins, such as 2999-12-31 for one without an end."""


def seconds(texts: Any, *, day_first: bool) -> NDArray[np.int64]:
    """(n,) int64 seconds since 1970 UTC from (n,) trimmed texts; MISSING for what is no date.

    A text without a zone is taken as UTC, a time without a date as one of 1970-01-01.
    """
    found = np.full(len(texts), MISSING)
    for shape in SHAPES:
        _into(found, texts, shape)
    for shape in EITHER:
        _into(found, texts, shape, day_first=day_first)
    return found


def order(texts: Any, counts: NDArray[np.int64]) -> tuple[bool, bool]:
    """Whether the day comes before the month in texts such as 3/4/2026, and whether that is sure.

    Where both orders read all values it is the month, but the day with points or dashes.
    """
    read = {}
    for day_first in (True, False):
        found = np.full(len(texts), MISSING)
        for shape in EITHER:
            _into(found, texts, shape, day_first=day_first)
        read[day_first] = found
    rows = {first: int(counts[each != MISSING].sum()) for first, each in read.items()}
    if not rows[True] and not rows[False]:
        return False, True
    if rows[True] != rows[False]:
        return rows[True] > rows[False], True
    sure = bool((read[True] == read[False]).all())
    slashes = pc.any(pc.match_substring_regex(texts, r"^\d\d?/")).as_py()
    return not slashes, sure


def _into(found: NDArray[np.int64], texts: Any, shape: str, *, day_first: bool = False) -> None:
    """Writes what has a shape and is not found yet."""
    open_rows = np.flatnonzero(found == MISSING)
    if not len(open_rows):
        return
    some = texts.take(pa.array(open_rows))
    parts = pc.extract_regex(some, shape)
    good = pc.fill_null(parts.is_valid(), False).to_numpy(zero_copy_only=False)
    if not good.any():
        return
    rows = np.flatnonzero(good)
    parts = parts.take(pa.array(rows))
    names = {field.name for field in parts.type}

    def number(name: str, default: int) -> NDArray[np.int64]:
        if name not in names:
            return np.full(len(rows), default)
        text = parts.field(name)
        filled = pc.if_else(pc.equal(text, ""), str(default), text)
        result: NDArray[np.int64] = filled.cast(pa.int64()).to_numpy(zero_copy_only=False).copy()
        return result

    year, month, day = number("year", 1970), np.ones(len(rows), np.int64), number("day", 1)
    year += np.where(year < 69, 2000, np.where(year < 100, 1900, 0))  # as POSIX reads two digits
    if "one" in names:
        one, two = number("one", 1), number("two", 1)
        day, month = (one, two) if day_first else (two, one)
    elif "month" in names:
        text = pc.utf8_lower(pc.utf8_slice_codeunits(parts.field("month"), 0, 3))
        at = pc.index_in(text, pa.array(MONTHS))
        month = (
            number("month", 1)
            if at.null_count
            else at.cast(pa.int64()).to_numpy(zero_copy_only=False) + 1
        )
    hour, minute, second = number("hour", 0), number("minute", 0), number("second", 0)
    if "half" in names:
        half = pc.utf8_lower(parts.field("half"))
        later = pc.starts_with(half, "p").to_numpy(zero_copy_only=False)
        told = pc.not_equal(half, "").to_numpy(zero_copy_only=False)
        hour = np.where(told, hour % 12 + 12 * later, hour)
    real = (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 61)
    month = np.clip(month, 1, 12)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    real &= day <= LENGTHS[month - 1] - ((month == 2) & ~leap)
    total = _days(year, month, day) * DAY + hour * 3600 + minute * 60 + second
    if "zone" in names:
        total -= _offset(parts.field("zone"))
    found[open_rows[rows[real]]] = total[real]


def _offset(zone: Any) -> NDArray[np.int64]:
    parts = pc.extract_regex(zone, r"^(?P<sign>[+-])(?P<hour>\d\d):?(?P<minute>\d\d)?$")
    some = pc.fill_null(parts.is_valid(), False).to_numpy(zero_copy_only=False)
    offset = np.zeros(len(zone), np.int64)
    parts = parts.take(pa.array(np.flatnonzero(some)))
    minutes = pc.if_else(pc.equal(parts.field("minute"), ""), "0", parts.field("minute"))
    sign = np.where(pc.equal(parts.field("sign"), "-").to_numpy(zero_copy_only=False), -1, 1)
    hours = parts.field("hour").cast(pa.int64()).to_numpy(zero_copy_only=False)
    offset[some] = sign * (
        hours * 3600 + minutes.cast(pa.int64()).to_numpy(zero_copy_only=False) * 60
    )
    return offset


def _days(
    year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Days since 1970-01-01 in the Gregorian calendar."""
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1

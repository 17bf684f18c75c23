"""Numbers as people write them: thousands separators, decimal commas, currency, percent, (0.50).

A column has one convention, found from all its values; `parse` then reads any text by it.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.data.schema import MAGNITUDES, Parsing

CURRENCY = (
    r"(?:\p{Sc}|US\$|R\$|A\$|C\$|kr\.?|zł|Rs\.?|USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|BRL)"
)
EXPONENT = r"(?:[eE][+-]?\d+)?"
DIGITS = {",": ",", ".": r"\.", " ": " ", "'": "'", "": ""}
FIRST = 1000
"""Rows that are looked at before all."""
LETTER = r"[A-Za-z\x{80}-\x{10FFFF}/]"
UNIT = rf"^[^A-Za-z]*\d[.,]? ?(?P<unit>{LETTER}+[23]?)$"
"""A number and what it counts, such as 5 km, 90m2 or 36.6 °C."""
FEW, MOSTLY = 10, 0.5
"""Different texts from which on, and rows of which a part, must have a unit to make it one."""
SYMBOLS = r"[ACFJKLNSTVW]|[KMGT]B|[KM]G|[CKM]M|ML|CC|HP|PS|[KM]W|HZ|DB|AM|PM|HR"
"""Units of one or two capitals; others behind whole numbers make codes: 10234X, 940xx."""
SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
MINUS_BEHIND = r"^(\d[\d.,' ]*?) ?-$"
"""A negative number as some programs print it: 12-."""
CONVENTIONS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""(decimal, thousands), in the order of preference."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The convention of a column.

    Attributes:
        decimal: The decimal sign.
        thousands: What stands between thousands; empty for nothing.
        marks: Whether currency, percent, brackets or typographic signs are taken off first.
        unit: What stands behind all of them, as in `job.data.schema.Parsing`.
        values: (n,) float64; NaN for what is no number by it.
        whole: Whether all numbers are written as whole numbers.
        ambiguous: Whether another convention reads all of them, with other values.
        open: The same, or points may separate thousands, so that the file's other columns decide.
    """

    decimal: str
    thousands: str
    marks: bool
    unit: str
    values: NDArray[np.float64]
    whole: bool
    ambiguous: bool
    open: bool


def recognised(
    texts: Any,
    counts: NDArray[np.int64],
    *,
    decimal: str = "",
    thousands: str = "",
    likely: str = "",
) -> Found:
    """Finds the convention that reads most rows.

    Args:
        texts: (n,) distinct texts, trimmed.
        counts: (n,) rows of each.
        decimal: As the user said; else empty.
        thousands: As the user said; else empty.
        likely: The decimal sign of the file's other columns; decides what is ambiguous.
    """
    bare, marked, currency = _bare(texts)
    unit = _unit(bare, counts)
    bare, scales = _without_unit(bare, unit)
    scores: dict[tuple[str, str], int] = {}
    masks: dict[tuple[str, str], NDArray[np.bool_]] = {}
    for pair in (*_candidates(bare, decimal, thousands), (".", "")):
        if pair == (".", "") and counts.sum() in scores.values():
            continue  # what was said reads all of them
        masks[pair] = _matches(bare, *pair)
        scores[pair] = int(counts[masks[pair]].sum())
    best = max(scores, key=lambda pair: scores[pair])  # the first one of equals
    good = masks[best]
    written = bare.filter(pa.array(good))
    other = (best[1], best[0])
    ambiguous = (
        not decimal
        and scores[best] > 0
        and scores.get(other) == scores[best]
        and bool(pc.any(pc.match_substring(written, ",")).as_py())
    )
    if ambiguous and likely and best[0] != likely:
        best = other
    elif best == (".", "") and not decimal and likely == "," and _has_groups(written):
        best, ambiguous = (",", "."), True
    fraction = pc.match_substring_regex(written, rf"{DIGITS[best[0]]}|[eE]")
    maybe = best == (".", "") and not decimal and _has_groups(written)
    return Found(
        decimal=best[0],
        thousands=best[1],
        marks=marked,
        unit=unit,
        values=_values(bare, good, *best) * scales,
        whole=len(written) > 0 and not pc.any(fraction).as_py() and unit != MAGNITUDES,
        ambiguous=ambiguous or (maybe and currency),  # few prices have three decimals
        open=ambiguous or maybe,
    )


def parse(texts: Any, parsing: Parsing) -> NDArray[np.float64]:
    """(n,) float64 from (n,) trimmed texts; NaN for what is no number."""
    signs = parsing.decimal, parsing.thousands
    bare, scales = _without_unit(_bare(texts)[0] if parsing.marks else texts, parsing.unit)
    return _values(bare, _matches(bare, *signs), *signs) * scales


def grouped(texts: Any) -> bool:
    """Whether all texts may be whole numbers whose thousands a point separates: 44.585, 7."""
    pattern = r"^[+-]?([1-9]\d{0,2}(\.\d{3})*|0)$"
    some = (texts.slice(0, FIRST), texts)  # most columns are not: the first rows say so
    return all(pc.all(pc.match_substring_regex(each, pattern)).as_py() for each in some)


def _has_groups(texts: Any) -> bool:
    return bool(pc.any(pc.match_substring(texts, ".")).as_py()) and grouped(texts)


def _candidates(bare: Any, decimal: str, thousands: str) -> list[tuple[str, str]]:
    """The conventions to try, (decimal, thousands); a plain number with a point comes first."""
    signs = {sign for sign in ", '" if pc.any(pc.match_substring(bare, sign)).as_py()}
    points = pc.any(pc.match_substring_regex(bare, r"\d\.\d{3}\.\d{3}")).as_py()  # 1.234.567
    grouped = [pair for pair in CONVENTIONS if pair[1] in ",." or pair[1] in signs]
    pairs = [(".", ""), *(grouped if signs or points or decimal or thousands else [])]
    if thousands:
        pairs = [(sign, thousands) for sign in ".," if sign != thousands]
    if decimal:
        pairs = [pair for pair in pairs if pair[0] == decimal] or [(decimal, thousands)]
    return pairs


def _unit(bare: Any, counts: NDArray[np.int64]) -> str:
    """What stands behind the numbers when it is one for nearly all, or K, M and B; else empty."""
    if not pc.any(pc.match_substring_regex(bare, rf"\d[.,]? ?{LETTER}+[23]?$")).as_py():
        return ""
    units = pc.extract_regex(bare, UNIT).field("unit")
    coded = pc.fill_null(units, "").dictionary_encode()
    names = coded.dictionary.to_pylist()
    rows = np.bincount(coded.indices.to_numpy(), counts, len(names))
    found = {
        name: int(count)
        for name, count in zip(names, rows, strict=True)
        if count and not re.fullmatch("([eE][23]?)?", name)  # of 1e3
    }
    if not found or len(pc.unique(bare)) <= FEW:
        return ""
    if set(found) <= SCALES.keys():
        return MAGNITUDES
    most = max(found, key=lambda name: found[name])
    if re.fullmatch("[A-Z]{1,2}|xx+|X+", most) and not re.fullmatch(SYMBOLS, most):
        code = pc.match_substring_regex(bare, rf"^\d+{most}$").to_numpy(zero_copy_only=False)
        if counts[code].sum() == found[most]:
            return ""
    return most if found[most] > MOSTLY * counts.sum() else ""


def _without_unit(bare: Any, unit: str) -> tuple[Any, NDArray[np.float64] | float]:
    """The texts without it, empty where it lacks; and (n,) factors."""
    if not unit:
        return bare, 1.0
    if unit == MAGNITUDES:
        parts = pc.extract_regex(bare, r"^(?P<number>.*?) ?(?P<scale>[kKMB]?)$")
        texts = pc.fill_null(parts.field("number"), "")
        names = pc.fill_null(parts.field("scale"), "").to_pylist()
        return texts, np.array([SCALES.get(name, 1.0) for name in names])
    shape = rf"^(?P<number>.*?) ?{re.escape(unit)}$"
    return pc.fill_null(pc.extract_regex(bare, shape).field("number"), ""), 1.0


def _bare(texts: Any) -> tuple[Any, bool, bool]:
    """The texts without currency, percent and brackets, with plain signs and blanks.

    Returns:
        The texts, whether anything was taken off, and whether a currency was.
    """
    text = pc.replace_substring_regex(texts, "[\u2212\u2010-\u2014\ufe63\uff0d]", "-")
    text = pc.replace_substring_regex(text, "[\u00a0\u202f\u2009\u2007\t]", " ")
    text = pc.replace_substring_regex(text, "[\u2019\u2018`\u00b4]", "'")
    text = pc.replace_substring_regex(text, r"^\((.+)\)$", r"-\1")
    text = pc.replace_substring_regex(text, MINUS_BEHIND, r"-\1")
    text = pc.replace_substring_regex(text, r" ?%$|^% ?", "")
    currencies = pc.extract_regex(text, rf"(?P<sign>{CURRENCY})").field("sign").drop_null()
    currency = len(pc.unique(currencies.filter(pc.not_equal(currencies, "")))) == 1
    if currency:
        text = pc.replace_substring_regex(text, rf"^([+-]?) ?{CURRENCY} ?([+-]?)", r"\1\2")
        text = pc.replace_substring_regex(text, rf" ?{CURRENCY}$", "")
    return text, not text.equals(texts), currency


def _matches(bare: Any, decimal: str, thousands: str) -> NDArray[np.bool_]:
    point, gap = DIGITS[decimal or "."], DIGITS[thousands]
    whole = rf"(?:\d+|[1-9]\d{{0,2}}(?:{gap}\d{{2,3}})*{gap}\d{{3}})" if thousands else r"\d+"
    pattern = rf"^[+-]?(?:{whole}{point}?\d*|{point}\d+){EXPONENT}$"
    if thousands:  # 1.234 with a fraction has its point once
        pattern = rf"^[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+){EXPONENT}$"
    found = pc.fill_null(pc.match_substring_regex(bare, pattern), False)
    good: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return good


def _values(
    bare: Any, good: NDArray[np.bool_], decimal: str, thousands: str
) -> NDArray[np.float64]:
    text = bare.filter(pa.array(good))
    if thousands:
        text = pc.replace_substring(text, thousands, "")
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    values = np.full(len(bare), np.nan)
    values[good] = text.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values

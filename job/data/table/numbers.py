"""Numbers as people write them: thousands separators, decimal commas, currency, percent, (0.50).

A column has one convention, found from all its values; `parse` then reads any text by it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CURRENCY = (
    r"(?:\p{Sc}|US\$|R\$|A\$|C\$|kr\.?|zł|Rs\.?|USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|BRL)"
)
EXPONENT = r"(?:[eE][+-]?\d+)?"
DIGITS = {",": ",", ".": r"\.", " ": " ", "'": "'", "": ""}
FIRST = 1000
"""Rows that are looked at before all."""
CONVENTIONS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""(decimal, thousands), in the order of preference."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The convention of a column.

    Attributes:
        decimal: The decimal sign.
        thousands: What stands between thousands; empty for nothing.
        marks: Whether currency, percent, brackets or typographic signs are taken off first.
        values: (n,) float64; NaN for what is no number by it.
        whole: Whether all numbers are written as whole numbers.
        ambiguous: Whether another convention reads all of them, with other values.
        open: The same, or points may separate thousands, so that the file's other columns decide.
    """

    decimal: str
    thousands: str
    marks: bool
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
    bare, marked = _bare(texts)
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
    return Found(
        decimal=best[0],
        thousands=best[1],
        marks=marked,
        values=_values(bare, good, *best),
        whole=len(written) > 0 and not pc.any(fraction).as_py(),
        ambiguous=ambiguous,
        open=ambiguous or (best == (".", "") and not decimal and _has_groups(written)),
    )


def parse(texts: Any, *, decimal: str, thousands: str, marks: bool) -> NDArray[np.float64]:
    """(n,) float64 from (n,) trimmed texts; NaN for what is no number."""
    bare = _bare(texts)[0] if marks else texts
    return _values(bare, _matches(bare, decimal, thousands), decimal, thousands)


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


def _bare(texts: Any) -> tuple[Any, bool]:
    """The texts without currency, percent and brackets, with plain signs and blanks."""
    text = pc.replace_substring_regex(texts, "[\u2212\u2010-\u2014\ufe63\uff0d]", "-")
    text = pc.replace_substring_regex(text, "[\u00a0\u202f\u2009\u2007\t]", " ")
    text = pc.replace_substring_regex(text, "[\u2019\u2018`\u00b4]", "'")
    text = pc.replace_substring_regex(text, r"^\((.+)\)$", r"-\1")
    text = pc.replace_substring_regex(text, r" ?%$|^% ?", "")
    currencies = pc.extract_regex(text, rf"(?P<sign>{CURRENCY})").field("sign").drop_null()
    if len(pc.unique(currencies.filter(pc.not_equal(currencies, "")))) == 1:
        text = pc.replace_substring_regex(text, rf"^([+-]?) ?{CURRENCY} ?([+-]?)", r"\1\2")
        text = pc.replace_substring_regex(text, rf" ?{CURRENCY}$", "")
    return text, not text.equals(texts)


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

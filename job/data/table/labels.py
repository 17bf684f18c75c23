"""The label column → classes and indices. A label is a class whatever it looks like."""

import re
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.data.dataset import Classes, Published
from job.data.findings import Finding
from job.data.labels import shown
from job.data.place import MEMORY, Place, counts
from job.data.schema import EMPTY_SIGNS, Parsing, Schema
from job.data.table import kinds, numbers
from job.data.table.frame import Frame, blocks
from job.errors import DataError

BOOLEANS: Classes = ("false", "true")

QUANTITY = 20
"""Different fractions from which on a label is a quantity."""

MANY = 100
"""Different whole numbers from which on a label with few rows of each is a quantity."""

FEW_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a table's rows.

    Attributes:
        values: All that occur, sorted.
        codes: (rows,) int32 indices into them; -1 for a row without a label.
        blank: Rows whose label is blank or was named missing, but not empty.
        findings: What is odd about them.
    """

    values: Classes
    codes: NDArray[np.int32]
    blank: int = 0
    findings: tuple[Finding, ...] = ()


def read(frame: Frame, label: str, missing: tuple[str, ...], place: Place = MEMORY) -> Labels:
    """Reads the label column.

    Args:
        frame: All rows.
        label: The column.
        missing: Texts that the user named missing.
        place: Where the codes go.

    Raises:
        DataError: There are no labels, only one, or the labels are a quantity.
    """
    raw = frame.columns[label]
    parsing = Parsing(missing=missing, trimmed=True, composed=True)
    texts, indices, empty = _coded(raw, frame, label, parsing, place)
    rows = counts(indices, len(texts))
    if not texts:
        raise DataError(
            f"{frame.name}: expected labels in column {label!r}. Received: missing values only.",
            hint="Check --label.",
        )
    _refuse_quantity(frame, label, pa.array(texts, pa.string()), rows)
    named: list[int | str] = list(_classes(texts))
    values = tuple(sorted(set(named)))
    if len(values) < 2:
        raise DataError(
            f"{frame.name}: expected at least two classes in column {label!r}. "
            f"Received: only {shown(values[0])}, in all {int(rows.sum())} rows.",
            hint="Check --label, and that the rows are not cut off.",
        )
    at = {value: i for i, value in enumerate(values)}
    table = np.array([*(at[name] for name in named), -1], np.int32)
    return Labels(
        values=values,
        codes=place.taken(table, indices, frame.name),
        blank=max(len(indices) - int(rows.sum()) - empty, 0),
        findings=(*_similar(values), *_signs(texts, rows)),
    )


def recorded(
    frame: Frame, label: str, like: Published, missing: tuple[str, ...], place: Place = MEMORY
) -> Labels:
    """Reads the label column as a published version did; what it did not know is left out.

    Raises:
        DataError: As `read`.
    """
    how = parsing(like.schema, like.classes, missing)
    codes, _ = known(frame, label, like.classes, how, place)
    return Labels(values=like.classes, codes=np.maximum(codes, -1, out=codes))


def parsing(schema: Schema, classes: Classes, missing: tuple[str, ...]) -> Parsing:
    """How a published version reads labels.

    The first one took blanks as part of a label, and more signs as missing in text files.
    """
    if any(column.parsing.trimmed for column in schema.columns):
        return Parsing(missing=missing, trimmed=True)
    signs = tuple(sign for sign in EMPTY_SIGNS if sign not in classes)
    return Parsing(missing=(*missing, *signs), trimmed=False)


def known(
    frame: Frame, label: str, classes: Classes, parsing: Parsing, place: Place = MEMORY
) -> tuple[NDArray[np.int32], tuple[Finding, ...]]:
    """Labels of new rows as indices into classes that are known.

    Returns:
        (rows,) int32; -1 for a row without a label, -2 for a label that is not among the classes;
        and a finding for each such label.
    """
    texts, indices, _ = _coded(frame.columns[label], frame, label, parsing, place)
    at = {value: i for i, value in enumerate(classes)}
    if classes == BOOLEANS:
        found = [at.get({"1": "true", "0": "false"}.get(t, t.lower()), -2) for t in texts]
    elif isinstance(classes[0], str):
        alike = {normalize("NFC", str(value)): i for value, i in at.items()}
        found = [at.get(text, alike.get(normalize("NFC", text), -2)) for text in texts]
    else:
        wholes = [_integer(text) for text in texts]
        found = [-2 if whole is None else at.get(whole, -2) for whole in wholes]
    table = np.array([*found, -1], np.int32)
    codes = place.taken(table, indices, frame.name)
    rows = counts(indices, len(texts))
    lost = tuple(
        Finding(code="lost-class", column=text, count=int(count))
        for text, code, count in zip(texts, found, rows, strict=True)
        if code == -2
    )
    return codes, lost


def advice(strangers: list[str], classes: Classes) -> str:
    """What to do about labels none of which is a class."""

    def bare(label: int | str) -> str:
        return re.sub(r"""[\s.,;:'"]+""", "", str(label)).casefold()

    alike = {bare(name): name for name in classes}
    pairs = [f"{s[:40]!r} as {str(alike[bare(s)])[:40]!r}" for s in strangers if bare(s) in alike]
    if not pairs:
        return "Check that the rows are of the same table."
    return f"Write them as the training rows have them: {', '.join(pairs[:5])}."


def check_rows(frame: Frame, label: str, classes: Classes, y: NDArray[np.int32]) -> None:
    """Refuses training rows that are hardly more than their classes.

    Raises:
        DataError: They are of one class, or fewer than two for each on average.
    """
    if len(classes) < 2:
        raise DataError(
            f"{frame.name}: expected training rows of at least two classes in column {label!r} "
            f"when the test rows are held out. Received: only {shown(classes[0])}, "
            f"in {len(y)} of {len(frame)} rows: too few of a class to split.",
            hint="Give more rows of each class, or a --test-data of your own.",
        )
    if 2 * len(classes) > len(y):
        raise DataError(
            f"{frame.name}: expected at least two training rows for each class of column "
            f"{label!r}. Received: {len(y)} rows and {len(classes)} classes.",
            hint="Check that --label is a class and no identifier, or give more rows.",
        )


def _coded(
    raw: Any, frame: Frame, label: str, parsing: Parsing, place: Place
) -> tuple[list[str], NDArray[np.int32], int]:
    """The texts that occur, (rows,) indices into them or -1, and the rows that are empty."""
    if not kinds.is_usable(raw.type):
        raise DataError(
            f"{frame.name}: column {label[:80]!r}: expected labels that are text, whole numbers, "
            f"booleans or dates. Received: {str(raw.type)[:100]}.",
            hint="Write the label as text.",
        )
    if pa.types.is_floating(raw.type):
        large = pc.greater_equal(pc.abs(raw), 2.0**63)
        row = int(pc.index(pc.fill_null(large, False), True).as_py())
        if row >= 0:
            raise frame.bad(
                row,
                label,
                "a whole number that a signed 64-bit integer holds",
                repr(str(raw[row].as_py())[:80]),
                hint="Write longer ones as text.",
            )
    kind = raw.type
    if pa.types.is_floating(kind):
        filled = (block for block in blocks(raw) if block.null_count < len(block))
        kind = pa.int64() if all(map(kinds.is_whole, filled)) else pa.string()
    indices = place.array((len(raw),), np.int32, frame.name)
    at: dict[str, int] = {}
    start = empty = 0
    for block in blocks(raw):
        if kinds.is_text(raw.type):
            values = kinds.coded(block)
            blank = pc.equal(values.dictionary, "").to_numpy(zero_copy_only=False)
            empty += int(kinds.counts(values)[blank].sum())
        else:
            values = block if block.type == kind else block.cast(kind, safe=False)
        empty += values.null_count
        coded = kinds.as_text(values, parsing)
        used = coded.indices.unique().drop_null()  # a dictionary may have more
        texts = coded.dictionary.take(used).to_pylist()
        table = np.full(len(coded.dictionary) + 1, -1, np.int32)
        table[used.to_numpy()] = [at.setdefault(text, len(at)) for text in texts]
        codes = pc.fill_null(coded.indices, len(coded.dictionary))
        indices[start : start + len(block)] = table[codes.to_numpy(zero_copy_only=False)]
        start += len(block)
    return list(at), indices, empty


def _classes(texts: list[str]) -> list[int] | list[str]:
    """Whole numbers where all are, false and true where all are, else the texts.

    What begins with a zero is a code, and 64 bits must hold a number.
    """
    if all(text.lower() in BOOLEANS for text in texts):
        return [text.lower() for text in texts]
    if any(re.match(kinds.CODE, text) for text in texts):
        return texts
    integers = [_integer(text) for text in texts]
    found = [each for each in integers if each is not None and -(2**63) <= each < 2**63]
    return found if len(found) == len(texts) else texts


def _integer(text: str) -> int | None:
    if not re.fullmatch(r"[+-]?\d+(\.0*)?", text):
        return None
    return int(text.partition(".")[0])


def _refuse_quantity(frame: Frame, label: str, texts: Any, rows: NDArray[np.int64]) -> None:
    found = numbers.recognised(texts, rows)
    if found.unit or np.isnan(found.values).any():
        return
    distinct, total = len(np.unique(found.values)), int(rows.sum())
    fractions = bool((found.values != np.floor(found.values)).any())
    few = total < FEW_ROWS * distinct
    if (fractions and distinct > QUANTITY) or (distinct > MANY and few):
        name = label.replace("'", "")
        other = "" if total >= 2 * distinct else "Check that --label is no identifier. "
        raise DataError(
            f"{frame.name}: column {label!r}: expected classes. Received: {distinct:,} different "
            f"numbers from {found.values.min():g} to {found.values.max():g}, a quantity: this is "
            "a regression, and this job classifies.",
            hint=f"{other}Put the quantity into classes first, with pandas: "
            f"df['{name}'] = pandas.qcut(df['{name}'], 3, labels=['low', 'middle', 'high']).",
        )


def _signs(texts: list[str], rows: NDArray[np.int64]) -> tuple[Finding, ...]:
    """Labels that stand for a missing value elsewhere."""
    of = int(rows.sum())
    return tuple(
        Finding(code="missing-as-class", column=text, count=int(count), of=of)
        for text, count in zip(texts, rows, strict=True)
        if text in kinds.SIGNS and count and not (text == "-" and "+" in texts)
    )


def _similar(values: Classes) -> tuple[Finding, ...]:
    """Labels that are one but for capitals, blanks, and zeros in front."""
    groups: dict[str, list[str]] = {}
    for value in map(str, values):
        key = re.sub(r"^0+(?=\d+$)", "", "".join(value.casefold().split()))
        groups.setdefault(key, []).append(value)
    alike = [name for group in groups.values() if len(group) > 1 for name in group]
    if not alike:
        return ()
    return (Finding(code="similar-labels", count=len(alike), values=tuple(alike)),)

"""Schema: what a table's columns were in training; it travels with the model."""

import keyword
import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "category", "boolean", "datetime", "text"]

MISSING_INTEGER = -(2**63)
"""How a missing value of a whole-number category or a boolean is handed to the model (int64)."""

EMBEDDED = 32
"""Numbers that free text becomes in the reference network."""

MISSING_TEXT = ""
"""How a missing value of a text category is handed to the model."""


EMPTY_SIGNS = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""What stood for a missing value in every column of a CSV before columns had a `Parsing`."""


MAGNITUDES = "K, M, B"
"""The unit of numbers such as 5K and 1.2M."""


@dataclass(frozen=True, kw_only=True)
class Parsing:
    """How the texts of a column are read; the defaults are those of the first version.

    Attributes:
        missing: Texts that stand for a missing value, besides the empty one.
        trimmed: Whether blanks around a text are taken off.
        decimal: Decimal sign of a number.
        thousands: What stands between a number's thousands; empty for nothing.
        marks: Whether a number may have a currency, a percent sign, brackets or typographic signs.
        dates: How a datetime is written: day-first, month-first, days (20260131), seconds or
            milliseconds; empty for another kind.
        unit: What stands behind each number, such as km; MAGNITUDES for thousands and millions.
        composed: Whether a letter and its accent are one character (Unicode's NFC).
    """

    missing: tuple[str, ...] = EMPTY_SIGNS
    trimmed: bool = False
    decimal: str = "."
    thousands: str = ""
    marks: bool = False
    dates: str = ""
    unit: str = ""
    composed: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """One input column; all figures are those of the rows that the gradient saw.

    Attributes:
        name: As in the file's header.
        kind: number (float32, missing is NaN), boolean (int64 0 or 1), category (text, or int64),
            datetime (int64 seconds since 1970 UTC) or text (free text, of words).
        categories: The values that are looked up, sorted; all integers or all strings; empty for
            numbers. What is not among them shares one slot.
        has_missing: Whether values were missing, so that their absence is an input of its own.
        missing: How many were.
        distinct: How many values occurred.
        mean: Of the numbers, as float32; 0 for others.
        variance: Of the numbers; 1 where they do not vary.
        minimum: Of the numbers.
        maximum: Of the numbers.
        most_common: The most frequent values, and how often each occurred.
        parsing: How its texts are read.
        features: What a datetime gives: days, year, week, day; each where it varies.
        words: Of a text, the most that the model reads.
    """

    name: str
    kind: Kind
    categories: tuple[int | str, ...] = ()
    has_missing: bool = False
    missing: int = 0
    distinct: int = 0
    mean: float = 0.0
    variance: float = 1.0
    minimum: float = 0.0
    maximum: float = 0.0
    most_common: tuple[tuple[int | str, int], ...] = ()
    parsing: Parsing = Parsing()
    features: tuple[str, ...] = ()
    words: int = 0

    @property
    def dtype(self) -> str:
        """The dtype of the model's input."""
        if self.kind == "number":
            return "float32"
        if self.kind == "datetime":
            return "int64"
        if self.kind == "text":
            return "string"
        return "string" if isinstance(self.categories[0], str) else "int64"

    def example(self) -> float | int | str:
        """A value that the model takes."""
        if self.kind == "number":
            return self.mean
        if self.kind == "datetime":
            return round(self.mean) * 86_400
        return self.categories[0]

    @property
    def vocabulary(self) -> tuple[int | str, ...]:
        """What the lookup knows besides the slot for all else: categories, then missing."""
        missing = MISSING_TEXT if self.dtype == "string" else MISSING_INTEGER
        return (*self.categories, missing) if self.has_missing else self.categories


HASH_VERSION, NUMBERED = 2, 3
"""How the test rows of a new model are chosen, and where most rows are equal; see
`job.data.table.split`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How test rows are chosen.

    Attributes:
        columns: Those that are hashed, also for rows without a group; None for all that are not
            left out, as the first version did for those rows.
        group: The column whose equal values stay on one side.
        version: How texts are read.
    """

    columns: tuple[str, ...] | None
    group: str | None = None
    version: int = HASH_VERSION

    @classmethod
    def of(cls, schema: "Schema") -> "Recipe | None":
        """That of a model; None when its test rows came apart."""
        if not schema.hashed:
            return None
        alone = schema.alone or None
        return cls(
            columns=alone if schema.group else schema.hashed,
            group=schema.group,
            version=schema.hash_version,
        )

    def expected(self) -> tuple[str, ...]:
        """The columns without which it cannot be followed."""
        return (self.group,) if self.group else self.columns or ()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The columns that a model takes.

    Attributes:
        columns: The inputs, in the order of the file.
        label: The column that is predicted.
        group: The column whose values stay on one side of the split, if any.
        rows: Rows that the figures were taken from.
        ignored: Columns of the file that the model does not take.
        hashed: The columns whose values chose the test rows; empty when those came apart.
        hash_version: How they were hashed; see `job.data.table.split`.
        alone: The columns that chose for rows without a group; empty when all have one, and in
            the first version, where all columns that were not left out did.
    """

    columns: tuple[Column, ...]
    label: str
    group: str | None = None
    rows: int = 0
    ignored: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    hash_version: int = 1
    alone: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[Column, ...]:
        """The columns that are numbers."""
        return tuple(column for column in self.columns if column.kind == "number")

    @property
    def lookups(self) -> tuple[Column, ...]:
        """The columns that are looked up."""
        return tuple(column for column in self.columns if column.kind in ("category", "boolean"))

    @property
    def times(self) -> tuple[Column, ...]:
        """The columns that are dates or times."""
        return tuple(column for column in self.columns if column.kind == "datetime")

    @property
    def texts(self) -> tuple[Column, ...]:
        """The columns of free text."""
        return tuple(column for column in self.columns if column.kind == "text")

    def places(self) -> dict[str, tuple[str, slice]]:
        """Column → the array of `job.data.dataset.Compact` that holds it, and its part there."""
        arrays = {"numbers": self.numbers, "codes": self.lookups, "times": self.times}
        found = {
            column.name: (array, slice(i, i + 1))
            for array, columns in arrays.items()
            for i, column in enumerate(columns)
        }
        at = 0
        for column in self.texts:
            found[column.name] = ("words", slice(at, at + column.words))
            at += column.words
        return {column.name: found[column.name] for column in self.columns}

    @property
    def width(self) -> int:
        """Inputs of the first layer: numbers, what is missing, lookups, dates, free text."""
        indicators = sum(column.has_missing for column in self.numbers)
        slots = sum(1 + len(column.vocabulary) for column in self.lookups)
        dates = sum(
            2 * len(column.features) - ("days" in column.features) + column.has_missing
            for column in self.times
        )
        texts = EMBEDDED * len(self.texts)
        return len(self.numbers) + indicators + slots + dates + texts

    def inputs(self) -> dict[str, str]:
        """Column → the name of its input in Keras, where a slash is not allowed."""
        return _unique({c.name: c.name.replace("/", "_") for c in self.columns})

    def identifiers(self) -> dict[str, str]:
        """Column → the name of its input in the SavedModel, where only identifiers are allowed."""
        bare = {c.name: re.sub(r"[^A-Za-z0-9_]", "_", c.name) for c in self.columns}
        named = {k: v if _is_parameter(v) else f"column_{v}" for k, v in bare.items()}
        return _unique(named, small=True)  # the signature has them in small letters


def _is_parameter(name: str) -> bool:
    """Whether TensorFlow takes a name for a parameter of a method."""
    return name[:1].isalpha() and not keyword.iskeyword(name) and name != "self"


def _unique(wanted: dict[str, str], *, small: bool = False) -> dict[str, str]:
    """The same names, with a number behind those that another column has; its own name stays.

    Args:
        wanted: Column → the name that it would have alone.
        small: Whether names that differ in capitals only are one.
    """

    def folded(name: str) -> str:
        return name.casefold() if small else name

    chosen: dict[str, str] = {}
    taken: set[str] = set()
    own = [key for key, base in wanted.items() if key == base]
    for key in (*own, *(key for key in wanted if key not in own)):
        name, count = wanted[key], 1
        while folded(name) in taken:
            count += 1
            name = f"{wanted[key]}_{count}"
        chosen[key] = name
        taken.add(folded(name))
    return {key: chosen[key] for key in wanted}


def _categories(count: int) -> str:
    return "category" if count == 1 else "categories"


def changes(old: Schema, new: Schema) -> tuple[str, ...]:
    """What a retraining's data has become since an earlier version, in sentences."""
    before = {column.name: column for column in old.columns}
    after = {column.name: column for column in new.columns}
    said = [f"column {name!r} is gone" for name in before if name not in after]
    said += [f"column {name!r} is new" for name in after if name not in before]
    if old.label != new.label:
        said.append(f"the label was {old.label!r} and is {new.label!r}")
    others = set(old.hashed) ^ set(new.hashed)
    if old.hashed and new.hashed and others:
        said.append(
            "test rows have moved, since other columns choose them "
            f"({', '.join(map(repr, sorted(others)[:5]))}); with --group KEY they stay"
        )
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if was.kind != now.kind or was.dtype != now.dtype:
            said.append(
                f"column {name!r} was a {was.kind} ({was.dtype}) and is a {now.kind} ({now.dtype})"
            )
            continue
        fresh = len(set(now.categories) - set(was.categories))
        lost = len(set(was.categories) - set(now.categories))
        if fresh:
            said.append(f"column {name!r} has {fresh} new {_categories(fresh)}")
        if lost:
            said.append(f"column {name!r} has lost {lost} {_categories(lost)}")
    return tuple(sorted(said))

"""Which rows are test rows: the recipe of a model's split, fixed at its first training.

A recipe reads texts as the file has them, so that better parsing moves no row: version 1 as CSV
files were read then, version 2 without blanks around a text. In both the number that a text stands
for counts, not its spelling, and the sign for a missing value is one of a fixed list. Version 3
reads as version 2 does and is for tables of few different rows, which might all be on one side: it
numbers the equal rows of a label, so that they are on both sides, and the same ones when rows are
added.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from job.config import DataOptions
from job.data import hashing
from job.data.findings import Finding
from job.data.place import BLOCK_ROWS, Place
from job.data.schema import EMPTY_SIGNS, NUMBERED, Recipe
from job.data.table import kinds
from job.data.table.frame import Frame
from job.errors import DataError

FEW = 50
"""Different rows from which on equal rows stay on one side."""

PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def expect(frame: Frame, recipe: Recipe) -> None:
    """Refuses a file without the columns that chose the test rows.

    Raises:
        DataError: One is not there.
    """
    for name in recipe.expected():
        if frame.column(name) is None:
            shown = ", ".join(repr(other[:40]) for other in list(frame.columns)[:12])
            raise DataError(
                f"{frame.name}: expected a column {name[:80]!r}, since its values chose the test "
                f"rows of the training. Received: {shown}.",
                hint="Score all rows of the file with --test-data.",
            )


def lost(frame: Frame, recipe: Recipe) -> tuple[Finding, ...]:
    """What is said when columns that chose the test rows are not there any more."""
    gone = tuple(name for name in recipe.expected() if frame.column(name) is None)
    return (Finding(code="split-moved", count=len(gone), values=gone),) if gone else ()


def rows(
    frame: Frame,
    recipe: Recipe,
    reading: DataOptions,
    known: "Known | None" = None,
) -> tuple[hashing.Hashes, tuple[Finding, ...]]:
    """(rows,) hashes that choose the test rows, and what is odd about the group.

    Args:
        frame: The rows.
        recipe: How they are chosen.
        reading: The options.
        known: The sums of some columns' hashes.

    Raises:
        DataError: The group is of a type that has no equal values in other files.
    """
    if recipe.group is None:
        found = _hashes(frame, recipe.columns or (), recipe.version, known)
        if recipe.version == NUMBERED:
            found = numbered(found, frame.column(str(reading.label)))
        return found, ()
    raw = frame.column(recipe.group)
    if not kinds.is_usable(raw.type):
        raise DataError(
            f"{frame.name}: column {recipe.group[:80]!r}: expected numbers, text, booleans or "
            f"dates for --group. Received: {str(raw.type)[:100]}.",
            hint="Name another column in --group, or write this one as text.",
        )
    values = np.zeros(len(raw), np.uint64)
    add(values, recipe.group, raw, recipe.version)
    found = hashing.mixed(values)
    missing = values == 0
    if not missing.any():
        return found, ()
    out = {reading.label, recipe.group, *reading.exclude}
    names = recipe.columns
    if names is None:
        own = {name: text for text, name in frame.written.items()}
        wanted = reading.columns or tuple(frame.columns)
        names = tuple(own.get(name, name) for name in wanted if name not in out)
    if names:
        found = np.where(missing, _hashes(frame, names, recipe.version, known), found)
    count = int(missing.sum())
    finding = Finding(code="group-missing", column=recipe.group, count=count, of=len(frame))
    return found, (finding,) if names else ()


def add(total: hashing.Hashes, name: str, raw: Any, version: int) -> None:
    """Adds the hashes of a column as the file has it to the sums of its rows, in place."""
    if kinds.is_text(raw.type):
        plain = kinds.plain(raw)
        if plain is not None:
            return hashing.add(total, name, plain)
        coded = kinds.coded(raw)
        texts = coded.dictionary
        if version > 1:
            texts = pc.utf8_trim_whitespace(texts)
        missing = pc.is_in(texts, pa.array(["", *EMPTY_SIGNS]))
        texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
        numbers = _plain_numbers(texts)
        if numbers is not None:
            return hashing.add(total, name, numbers.take(coded.indices))
        return hashing.add(total, name, pa.DictionaryArray.from_arrays(coded.indices, texts))
    if raw.type not in (pa.int64(), pa.float64(), pa.bool_(), pa.null()):
        if not kinds.is_usable(raw.type):
            return None
        raw = kinds.as_written(raw)
    return hashing.add(total, name, raw)


def few(hashes: hashing.Hashes) -> bool:
    """Whether equal rows are to be on both sides."""
    if len(np.unique(hashes[: 2 * FEW])) >= FEW:
        return False
    different = len(np.unique(hashes))
    return different < FEW and 2 * different <= len(hashes)


def numbered(hashes: hashing.Hashes, label: Any) -> hashing.Hashes:
    """(rows,) hashes of version 3 from those of version 2 and the (rows,) labels."""
    values = hashes.copy()
    add(values, "", label, NUMBERED)
    order = np.argsort(values, kind="stable")
    _, first, group = np.unique(values[order], return_index=True, return_inverse=True)
    place = np.empty(len(values), np.uint64)
    place[order] = np.arange(len(values)) - first[group]
    return hashing.mixed(values + hashing.mixed(place + np.uint64(1)))


@dataclass(frozen=True, kw_only=True)
class Known:
    """Sums of the hashes of columns whose values are numbers that any version reads.

    One array for all columns, since most sums that are wanted differ in few of them.

    Attributes:
        columns: The columns.
        total: (rows,) the sums over all of them, not mixed.
        place: Where sums go.
        name: How messages call the file.
    """

    columns: Mapping[str, Any]
    total: hashing.Hashes
    place: Place
    name: str

    @classmethod
    def of(cls, columns: Mapping[str, Any], rows: int, place: Place, name: str) -> "Known":
        """Hashes columns; Arrow arrays by their names."""
        total = place.array((rows,), np.uint64, name)
        total[...] = 0

        def one(start: int) -> None:
            part = total[start : start + BLOCK_ROWS]
            for column_name, array in columns.items():
                hashing.add(part, column_name, array.slice(start, len(part)))

        with ThreadPoolExecutor(place.threads) as pool:
            list(pool.map(one, range(0, rows, BLOCK_ROWS)))
        return cls(columns=columns, total=total, place=place, name=name)

    def sums(self, names: Collection[str]) -> hashing.Hashes:
        """(rows,) the sums over those that are among the names; a fresh array."""
        total = self.place.array(self.total.shape, np.uint64, self.name)
        inside = [name for name in self.columns if name in names]
        if 2 * len(inside) < len(self.columns):
            total[...] = 0
            for name in inside:
                hashing.add(total, name, self.columns[name])
            return total
        total[...] = self.total
        for name in self.columns.keys() - set(inside):
            hashing.add(total, name, self.columns[name], out=True)
        return total


def _hashes(
    frame: Frame, names: tuple[str, ...], version: int, known: Known | None
) -> hashing.Hashes:
    total = np.zeros(len(frame), np.uint64) if known is None else known.sums(names)
    for name in names:
        raw = frame.column(name)
        if raw is not None and (known is None or name not in known.columns):
            add(total, name, raw, version)
    hashing.mix(total)
    return total


def _plain_numbers(texts: Any) -> Any:
    """The numbers that texts are, when all are plain; which is much faster than one by one."""
    if not pc.all(pc.match_substring_regex(texts, PLAIN)).as_py():
        return None
    return texts.cast(pa.float64())

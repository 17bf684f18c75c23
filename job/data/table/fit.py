"""A schema from training rows: what each column is, and which columns say nothing."""

import itertools
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from job.config import DataOptions
from job.data.findings import Finding, sentence
from job.data.place import BLOCK_ROWS, MEMORY, Place
from job.data.schema import Column, Kind, Schema
from job.data.table import dates, words
from job.data.table.frame import FIRST, Frame, blocks, taken
from job.data.table.kinds import FEW, Typed, bounds, coded
from job.errors import DataError, UsageError

MANY = 255
"""Categories that are kept of a column, the most frequent ones; the rest share a slot."""

ENOUGH = 20
"""Rows below which nothing is called an identifier."""

IDENTIFIER = re.compile(
    r"(?i)(^|.*[_ .-])(id|ids|uuid|guid|key|index|idx|row ?num(ber)?|row ?names?)$|^unnamed: 0$|^#$"
)
IDENTIFIER_IN_CAPITALS = re.compile(r".*[a-z](Id|ID|Key|No|Number)$")

NAMELESS = re.compile(r"(unnamed_|Unnamed: )\d+(_\d+)?")
"""Columns without a name, and how pandas names them."""

NEARLY_EMPTY = 0.02
"""Share of rows with a value up to which a column without a name is none."""

COMMON = 5
"""Most frequent values that the schema remembers."""

FREE = 3
"""Words that a value of free text has on average, at least."""


def chosen(frame: Frame, reading: DataOptions) -> tuple[str, ...]:
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
            hint=_advice(str(reading.label), names),
        )
    for option in ("columns", "exclude", "number", "category", "text"):
        for name in getattr(reading, option) or ():
            if name not in frame.columns or name == reading.label:
                what = "the label" if name == reading.label else "no such column"
                raise UsageError(
                    f"--{option}: expected columns of {frame.name}. Received: {name!r}, {what}.",
                    hint=f"Leave the label out of --{option}."
                    if name == reading.label
                    else _advice(name, names),
                )
    pairs = ("number", "category"), ("columns", "exclude"), ("number", "text"), ("category", "text")
    for one, other in pairs:
        for name in set(getattr(reading, one)) & set(getattr(reading, other) or ()):
            raise UsageError(
                f"--{one}: expected other columns than --{other}. Received: {name!r} in both.",
                hint="Leave it out of one of them.",
            )
    if reading.group is not None and reading.group not in frame.columns:
        raise UsageError(
            f"--group: expected a column of {frame.name}. Received: {reading.group!r}.",
            hint=_advice(reading.group, names),
        )
    for name in reading.keep:
        if name == reading.label:
            raise UsageError(
                f"--keep: expected columns besides the label. Received: {name!r}, the label.",
                hint="predictions.parquet has it as `label`; `predict --keep` carries it from new "
                "rows.",
            )
        if name not in frame.columns:
            raise UsageError(
                f"--keep: expected columns of {frame.name}. Received: {name!r}, no such column.",
                hint=_advice(name, names),
            )
    asked = {*reading.columns, *reading.number, *reading.category, *reading.texts}
    out = {reading.label, reading.group, *reading.exclude}
    out |= {*reading.keep, *frame.index} - asked
    wanted = set(reading.columns or names) - out
    return tuple(name for name in names if name in wanted)


def _advice(name: str, names: list[str]) -> str:
    """What to do about a name that no column has."""
    if all(re.fullmatch(r"x\d+", each) for each in names):
        return (
            f"The first line looks like values, so the columns are called x0 to x{len(names) - 1}; "
            "if it has the names, add `--csv header=yes`."
        )
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and set(parts) <= set(names):
        return f'Separate names with blanks, in quotes: "{shlex.join(parts)}".'
    near = nearest(name, names, 0.5)
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}? `mlp-job data` lists the columns."
    return (
        f"The nearest columns are {', '.join(map(repr, nearest(name, names)))}; `mlp-job data` "
        "lists all. Quote a name that holds a space."
    )


def nearest(name: str, names: list[str], similar: float = 0.0) -> tuple[str, ...]:
    """At most three names that are like a name, the most similar one first; capitals do not count.

    Args:
        name: What is looked for.
        names: Those that there are.
        similar: From 0 for any to 1 for equal ones.
    """
    small = {each.casefold(): each for each in reversed(names)}
    return tuple(small[each] for each in get_close_matches(name.casefold(), small, cutoff=similar))


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a table's columns are.

    Attributes:
        schema: The columns that are learned from.
        findings: About those that are not.
    """

    schema: Schema
    findings: tuple[Finding, ...]


def useless(name: str, seen: Any, reading: DataOptions, place: Place) -> Finding | None:
    """Why a column has nothing to learn from, or None.

    Args:
        name: The column.
        seen: Its typed values.
        reading: What the user said of the columns.
        place: Where its values are sorted.
    """
    told = name in (*reading.number, *reading.category, *reading.texts)
    there, total = len(seen) - seen.null_count, len(seen)
    if NAMELESS.fullmatch(name) and 0 < there <= NEARLY_EMPTY * total and not told:
        return Finding(code="nearly-empty", column=name, count=there, of=total)
    present = _present(seen, place)
    whole = _is_whole(present)
    if pa.types.is_floating(seen.type) and not whole:
        constant = not seen.null_count and _is_constant(present)
        return Finding(code="constant-column", column=name) if constant else None
    named = bool(IDENTIFIER.match(name) or IDENTIFIER_IN_CAPITALS.match(name))
    if not named and _repeats(present):
        return None
    count = distinct(present, place)
    if count + bool(seen.null_count) < 2:
        if count and pa.types.is_floating(seen.type) and abs(present[0].as_py()) >= 2**53:
            return Finding(code="huge-numbers", column=name)
        return Finding(code="constant-column" if count else "empty-column", column=name)
    if told or len(present) < ENOUGH:
        return None
    if pa.types.is_dictionary(seen.type) and count > len(present) / 2:
        return Finding(code="free-text", column=name, count=count, of=len(present))
    if not whole:
        return None
    identifier = Finding(code="identifier", column=name, count=count, of=len(present))
    if named and count > len(present) / 2:
        return identifier
    if count == len(present) and pa.types.is_integer(seen.type):
        low, high = bounds(present)
        dense = high - low < 2 * len(present)
        if dense or _rises(present):
            return identifier
    return None


def fit(
    frame: Frame,
    typed: Mapping[str, Typed],
    fit_rows: NDArray[np.int64],
    reading: DataOptions,
    place: Place = MEMORY,
) -> Fitted:
    """What the columns are, by the rows that the gradient sees.

    Args:
        frame: All rows.
        typed: The candidates.
        fit_rows: Rows of the frame.
        reading: What the user said of the columns.
        place: Where the values of these rows go.

    Raises:
        DataError: No column is left.
    """
    columns: list[Column] = []
    dropped: list[Finding] = []

    def seen(name: str) -> Any:
        return taken(typed[name].array, fit_rows, place, frame.name)

    def one(name: str) -> Column | Finding:
        forced = name in reading.category
        values = seen(name)
        reason = useless(name, values, reading, place)
        if reason:
            return reason
        if name in reading.texts:
            return _text(name, values, typed[name])
        return _column(name, values, typed[name], forced=forced, place=place)

    with ThreadPoolExecutor(place.threads) as pool:
        for found in pool.map(one, typed):
            if isinstance(found, Column):
                columns.append(found)
            elif "unusable-type" not in {each.code for each in typed[found.column].findings}:
                dropped.append(found)
    dropped += [
        Finding(code="unique-numbers", column=each.name, count=each.distinct)
        for each in columns
        if each.distinct == len(fit_rows) - each.missing >= ENOUGH
        and pa.types.is_integer(typed[each.name].array.type)
        and each.kind == "number"
        and each.name not in reading.number
    ]
    if not columns:  # then its words are all that there is to learn from
        free = [each.column for each in dropped if each.code == "free-text"]
        prose = [name for name in free if words.average(coded(seen(name))) >= FREE] or free
        columns = [_text(name, seen(name), typed[name]) for name in prose]
        dropped = [each for each in dropped if each.column not in prose]
        dropped += [Finding(code="text-column", column=name) for name in prose]
    if not columns:
        raise DataError(
            f"{frame.name}: expected a column to learn from besides the label. Received: none. "
            + " ".join(map(sentence, dropped)),
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
    return Fitted(schema=schema, findings=tuple(dropped))


def distinct(present: Any, place: Place = MEMORY) -> int:
    """The number of different values; none is missing.

    Args:
        present: The values.
        place: Where they are sorted.
    """
    if not len(present) or pa.types.is_null(present.type):
        return 0
    if pa.types.is_dictionary(present.type):
        if isinstance(present, pa.ChunkedArray):
            present = present.unify_dictionaries()
        chunks = present.chunks if isinstance(present, pa.ChunkedArray) else [present]
        occurs = np.zeros(len(chunks[0].dictionary), np.bool_)
        for chunk in chunks:
            occurs[chunk.indices.to_numpy()] = True
        return int(np.count_nonzero(occurs))
    if pa.types.is_timestamp(present.type):
        ends = pc.min_max(present)
        low, high = (ends[end].cast(pa.int64()).as_py() for end in ("min", "max"))
    else:
        low, high = bounds(present) if pa.types.is_integer(present.type) else (0, math.inf)
    if high - low < 4 * len(present):
        occurs = place.array((high - low + 1,), np.bool_, "a column")
        occurs[...] = False
        for block in _numpy(present):
            occurs[block.view(np.int64) - low] = True
        return int(np.count_nonzero(occurs))
    return _different(_numpy(present), len(present), place)


def _different(blocks: Iterable[NDArray[Any]], count: int, place: Place) -> int:
    """The number of different values of all blocks, which have so many; at least one."""
    rest = iter(blocks)
    first = next(rest)
    values = place.array((count,), first.dtype, "a column")
    at = 0
    for block in itertools.chain([first], rest):
        values[at : at + len(block)] = block
        at += len(block)
    values.sort()  # which is faster than NumPy's and Arrow's hash tables
    starts = range(0, count - 1, BLOCK_ROWS)
    steps = (values[i : i + BLOCK_ROWS + 1] for i in starts)
    return 1 + sum(int(np.count_nonzero(each[1:] != each[:-1])) for each in steps)


def _repeats(present: Any) -> bool:
    """Whether the first values say that others repeat them, and are not all the same."""
    first = present.slice(0, FIRST)
    if pa.types.is_dictionary(present.type):
        chunks = present.chunks if isinstance(present, pa.ChunkedArray) else [present]
        texts = sum(len(chunk.dictionary) for chunk in chunks)
        return 2 * texts <= len(present) and distinct(first) > 1
    return 1 < distinct(first) < len(first)


def _present(seen: Any, place: Place) -> Any:
    """The values that are not missing."""
    if not place.streamed or not seen.null_count:
        return seen.drop_null()
    return place.column((block.drop_null() for block in blocks(seen)), seen.type, "a column")


def _numpy(values: Any) -> Iterator[NDArray[Any]]:
    """The values of an Arrow array or column, some at a time; missing numbers are NaN."""
    for start in range(0, max(len(values), 1), BLOCK_ROWS):
        block = values.slice(start, BLOCK_ROWS)
        if isinstance(block, pa.ChunkedArray):
            block = block.combine_chunks()
        yield block.to_numpy(zero_copy_only=False)


def _is_whole(present: Any) -> bool:
    """Whether values are numbers without a fraction."""
    if not pa.types.is_floating(present.type):
        return bool(pa.types.is_integer(present.type))
    return all((np.floor(block) == block).all() for block in _numpy(present))


def _is_constant(present: Any) -> bool:
    """Whether all values are the first one; mostly the first block says that they are not."""
    return all((block == present[0].as_py()).all() for block in _numpy(present))


def _rises(present: Any) -> bool:
    values = present.to_numpy(zero_copy_only=False)
    steps = values[1:] > values[:-1]
    return bool(steps.all() or (~steps).all())


def _kind(seen: Any, place: Place) -> Kind:
    if pa.types.is_boolean(seen.type):
        return "boolean"
    if pa.types.is_dictionary(seen.type):
        return "category"
    if pa.types.is_timestamp(seen.type):
        return "datetime"
    present = _present(seen, place)
    # Whole numbers become floats where some are missing.
    if pa.types.is_floating(seen.type) and not (seen.null_count and _is_whole(present)):
        return "number"
    if distinct(present.slice(0, FIRST)) > FEW:
        return "number"  # and all need not be counted
    return "category" if distinct(present, place) <= FEW else "number"


def _column(name: str, seen: Any, typed: Typed, *, forced: bool, place: Place) -> Column:
    kind = "category" if forced else _kind(seen, place)
    if kind == "datetime":
        column = _datetime(name, seen)
    elif kind == "number" or typed.number:
        column = _number(name, seen, place)
    else:
        column = _category(name, kind, seen)
    return replace(column, parsing=typed.parsing)


def _number(name: str, seen: Any, place: Place) -> Column:
    def singles() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(seen), BLOCK_ROWS):
            floats = seen.slice(start, BLOCK_ROWS).cast(pa.float64(), safe=False)
            for block in _numpy(floats):
                rounded = block.astype(np.float32)
                missing = np.isnan(rounded)
                yield rounded[~missing] if missing.any() else rounded

    held = None if place.streamed else list(singles())

    def floats() -> Iterator[NDArray[np.float64]]:
        return (single.astype(np.float64) for single in held or singles())

    count, total = 0, 0.0
    minimum, maximum = np.inf, -np.inf
    for present in floats():
        if len(present):
            count, total = count + len(present), total + present.sum()
            minimum, maximum = min(minimum, present.min()), max(maximum, present.max())
    mean = float(np.float32(total / count))
    variance = float(sum(np.square(present - mean).sum() for present in floats()) / count)
    noise = (float(np.finfo(np.float32).eps) * mean) ** 2
    largest = float(np.finfo(np.float32).max)  # which squares beyond 1.8e19 exceed
    return Column(
        name=name,
        kind="number",
        has_missing=count < len(seen),
        missing=len(seen) - count,
        distinct=_different(held or singles(), count, place)
        if pa.types.is_floating(seen.type)
        else distinct(_present(seen, place), place),
        mean=mean,
        variance=1.0 if variance <= noise else float(np.float32(min(variance, largest))),
        minimum=float(minimum),
        maximum=float(maximum),
    )


def _datetime(name: str, seen: Any) -> Column:
    """Figures are in days since 1970."""
    seconds = seen.cast(pa.int64()).drop_null().to_numpy(zero_copy_only=False)
    days = seconds // dates.DAY
    features = {
        "days": days,
        "year": days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12,
        "week": days % 7,
        "day": seconds % dates.DAY,
    }
    variance = float(days.var())
    return Column(
        name=name,
        kind="datetime",
        has_missing=seen.null_count > 0,
        missing=seen.null_count,
        distinct=distinct(seen.drop_null()),
        mean=float(np.float32(days.mean())),
        variance=float(np.float32(variance)) or 1.0,
        minimum=float(days.min()),
        maximum=float(days.max()),
        features=tuple(part for part, values in features.items() if np.ptp(values) > 0),
    )


def _text(name: str, seen: Any, typed: Typed) -> Column:
    vocabulary, length = words.vocabulary(seen)
    return Column(
        name=name,
        kind="text",
        categories=vocabulary,
        has_missing=seen.null_count > 0,
        missing=seen.null_count,
        distinct=distinct(seen.drop_null()),
        words=length,
        parsing=typed.parsing,
    )


def _category(name: str, kind: Kind, seen: Any) -> Column:
    if pa.types.is_boolean(seen.type) or pa.types.is_floating(seen.type):
        seen = seen.cast(pa.int64())
    counts = pc.value_counts(seen.drop_null())
    values, occurred = counts.field("values"), counts.field("counts")
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    pairs = zip(values.to_pylist(), occurred.to_pylist(), strict=True)
    common = tuple(sorted(pairs, key=lambda each: (-each[1], each[0])))
    # What occurs once stays out, so that the slot for the unknown has something to learn from.
    kept = [value for value, count in common[:MANY] if count > 1] or [v for v, _ in common[:MANY]]
    return Column(
        name=name,
        kind=kind,
        categories=(0, 1) if kind == "boolean" else tuple(sorted(kept)),
        has_missing=seen.null_count > 0,
        missing=seen.null_count,
        distinct=len(common),
        most_common=common[:COMMON],
    )

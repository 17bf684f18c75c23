"""load(...): files of a table → Dataset; load_test(...) and rows(...) for a model that exists."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from job.config import DataOptions
from job.data import hashing, splits
from job.data.dataset import Classes, Dataset, Kept, Published, Split, Tabular
from job.data.files.listing import Found
from job.data.findings import LOST_SHARE, Finding, merged
from job.data.place import MEMORY, Place, counts
from job.data.schema import HASH_VERSION, NUMBERED, Recipe, Schema
from job.data.table import drift, encode, fit, kinds, labels, split
from job.data.table.frame import Frame
from job.data.table.kinds import Typed
from job.data.table.reader import arrow_errors, batches, read
from job.errors import DataError, UsageError


def load(
    found: Found,
    test: Found | None,
    *,
    validation_split: splits.Share,
    reading: DataOptions,
    recipe: Recipe | None = None,
    like: Published | None = None,
    place: Place = MEMORY,
) -> Dataset:
    """Reads a labelled table.

    Args:
        found: Its files.
        test: The files of the test rows; held out by a hash when there are none.
        validation_split: Share of each class's training rows held out. A function that chooses it
            keeps equal rows, and those of a group, on one side.
        reading: The options.
        recipe: How the model's earlier versions chose their test rows; None for its first one.
        like: The version whose columns and classes these are to be, when it is made again.
        place: Where its arrays go.

    Raises:
        UsageError: No label, or an option names a column that is not there.
        DataError: The table is damaged, or nothing to train a classifier on.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    with arrow_errors(found.uri):
        return _load(found, test, validation_split, reading, recipe, like, place)


def _load(
    found: Found,
    test: Found | None,
    validation_split: splits.Share,
    reading: DataOptions,
    recipe: Recipe | None,
    like: Published | None,
    place: Place,
) -> Dataset:
    if reading.label is None:
        raise UsageError(
            "--label: expected the column to predict, since --data is a table. Received: none.",
            hint="`mlp-job data` lists the columns.",
        )
    reading = reading.trimmed()
    label = str(reading.label)
    frame = read(found, reading.dialect, reading.named(), place)
    candidates = fit.chosen(frame, reading)
    findings = [*frame.findings, *_index(frame, reading)]
    if like:
        findings += drift.check(frame, like.schema)
        told = labels.recorded(frame, label, like, reading.dialect.missing, place)
    else:
        told = labels.read(frame, label, reading.dialect.missing, place)
    findings += told.findings
    codes = told.codes
    known = codes >= 0
    total, many = len(frame), int(known.sum())
    if many < total:
        findings.append(Finding(code="unlabelled-rows", count=total - many, of=total))
        labelled = place.where(known, frame.name)
        codes = place.taken(codes, labelled, frame.name)
        frame = frame.take(labelled, place)
    del known
    typed = {} if like else interpret(frame, candidates, reading, place)
    hashes = _plain_hashes(typed, len(frame), place, frame.name)
    findings += [each for column in typed.values() for each in column.findings]

    split_by: Recipe | None = None
    lost = told.blank
    if test is None:
        split_by, moved = _recipe(frame, typed, recipe, reading, place)
        chosen, odd = split.rows(frame, split_by, reading, hashes)
        if split_by is not recipe and not split_by.group and split.few(chosen):
            split_by = replace(split_by, version=NUMBERED)
            chosen = split.numbered(chosen, frame.columns[label])
        out = hashing.held_out(chosen, reading.test_split) & bool(split_by.expected())
        del chosen
        findings += [*moved, *odd]
        train_rows, test_rows = (place.where(side, frame.name) for side in (~out, out))
        _expect_sides(frame, train_rows, test_rows, reading)
        del out
    else:
        train_rows = place.where(np.ones(len(frame), np.bool_), frame.name)
        test_rows = np.arange(0)
    classes, y = _compacted(told.values, place.taken(codes, train_rows, frame.name), place)
    labels.check_rows(frame, label, classes, y)
    keys = None
    if callable(validation_split):
        together = Recipe(columns=candidates, group=reading.group)
        if split_by:
            together = replace(together, version=max(split_by.version, HASH_VERSION))
        keys = split.rows(frame, together, reading, hashes)[0]
        keys = place.taken(keys, train_rows, frame.name)
        share = validation_split(True)
        fit_at, validation_rows = splits.by_key(y, keys, share, found.uri, place)
    else:
        fit_at, validation_rows = splits.stratified(y, validation_split, found.uri, place)
    if like:
        schema = like.schema
        arrays = {
            c.name: _settled(kinds.applied(frame.column(c.name), c)[0], place, frame.name)
            for c in schema.columns
        }
    else:
        fit_rows = place.taken(train_rows, fit_at, frame.name)
        fitted = fit.fit(frame, typed, fit_rows, reading, place)
        findings += fitted.findings
        schema = _with_split(fitted.schema, split_by)
        arrays = {
            c.name: _moved(typed[c.name].array, partial(kinds.cast, column=c), place, frame.name)
            for c in schema.columns
        }
    twins = _hashes(arrays, schema, hashes, place)
    del hashes
    if test is None:
        at = {value: i for i, value in enumerate(classes)}
        table = np.array([at.get(value, -2) for value in told.values], np.int32)
        test_codes = place.taken(codes, test_rows, frame.name)
        gone = np.where(table < 0, counts(test_codes, len(table)), 0)
        findings += [
            Finding(code="lost-class", column=str(value), count=int(count))
            for value, count in zip(told.values, gone, strict=True)
            if count
        ]
        lost += int(gone.sum())
        test_y = place.taken(table, test_codes, frame.name)
        if gone.any():
            there = np.flatnonzero(test_y >= 0)
            test_rows, test_y = test_rows[there], test_y[there]
        test_arrays, source = arrays, frame.take(test_rows, place)
        test_twins = place.taken(twins, test_rows, frame.name)
    else:
        source, test_y, odd = _labelled(test, schema, classes, reading, place)
        findings += odd
        lost += sum(each.count for each in odd if each.code == "lost-class")
        test_arrays, bad = encode.typed(source, schema)
        findings += [*bad, *drift.unseen(test_arrays, schema)]
        test_twins = _hashes(test_arrays, schema, None, place)
        test_rows = np.arange(len(source))
    kept, odd = _kept(source, reading)
    findings += odd
    if not len(test_y):
        raise DataError(
            f"{found.uri}: expected test rows whose labels also occur in training. Received: none.",
            hint="Give more rows of each class, or another --test-data.",
        )
    whole = many + told.blank
    if lost > LOST_SHARE * whole:
        findings.append(Finding(code="lost-rows", count=lost, of=whole))
    train_twins = place.taken(twins, train_rows, frame.name)
    if test is None:
        sides = (train_rows, test_rows)
        x, test_x = encode.compact(arrays, schema, found.uri, sides=sides, place=place)
    else:
        [x] = encode.compact(arrays, schema, found.uri, sides=(train_rows,), place=place)
        [test_x] = encode.compact(test_arrays, schema, found.uri, sides=(test_rows,), place=place)
    return Dataset(
        uri=found.uri,
        digest=_digest(schema, classes, (train_twins, test_twins), (y, test_y)),
        classes=classes,
        train=Split(x=x, y=y),
        fit_rows=fit_at,
        validation_rows=validation_rows,
        test=Split(x=test_x, y=test_y),
        duplicates=hashing.duplicates(train_twins, test_twins, place),
        held_out_of=len(frame) if split_by else None,
        findings=merged(findings),
        table=Tabular(schema=schema, source=source, keys=train_twins if keys is None else keys),
        kept=kept,
    )


def interpret(
    frame: Frame, names: tuple[str, ...], reading: DataOptions, place: Place = MEMORY
) -> dict[str, Typed]:
    """The types of columns; the file's other numbers decide where a decimal sign is ambiguous."""

    def one(name: str, likely: str = "") -> Typed:
        found = kinds.interpreted(
            name,
            frame.columns[name],
            reading.dialect,
            number=name in reading.number,
            category=name in reading.category,
            text=name in reading.texts,
            likely=likely,
            place=place,
        )
        if found.there or found.array is frame.columns[name]:
            return found
        return replace(found, array=_settled(found.array, place, frame.name))

    with ThreadPoolExecutor(place.threads) as pool:
        found = dict(zip(names, pool.map(one, names), strict=True))
        signs = {each.decimal for each in found.values()} - {""}
        likely = signs.pop() if len(signs) == 1 else ""
        if not likely and frame.delimiter == ";" and not signs:
            likely = ","
        again = [n for n, each in found.items() if each.ambiguous and likely]
        if likely == "," and not signs:
            again += [n for n, each in found.items() if each.plain and not each.decimal]
        found.update(zip(again, pool.map(one, again, [likely] * len(again)), strict=True))
    return found


def load_test(
    found: Found,
    *,
    whole: bool,
    schema: Schema,
    classes: Classes,
    reading: DataOptions,
    place: Place = MEMORY,
) -> tuple[Tabular, NDArray[np.int32], tuple[Finding, ...]]:
    """Reads test rows for a model that exists.

    Args:
        found: Their files.
        whole: All rows are test rows; else those that a hash holds out.
        schema: What the model takes.
        classes: What the model tells apart.
        reading: The options of the model's training.
        place: Where the rows go.

    Returns:
        The rows, (rows,) class indices, and what is not as in training.

    Raises:
        DataError: A column is missing, or no label is known.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    with arrow_errors(found.uri):
        frame, y, findings = _labelled(found, schema, classes, reading, place)
        if not whole:
            recipe = Recipe.of(schema) or Recipe(columns=fit.chosen(frame, reading), version=1)
            split.expect(frame, recipe)
            hashes, odd = split.rows(frame, recipe, reading)
            rows = np.flatnonzero(hashing.held_out(hashes, reading.test_split))
            scored = Finding(
                code="held-out-share", column=found.uri, count=len(rows), of=len(frame)
            )
            findings = (*findings, *odd, scored)
            frame, y = frame.take(rows, place), y[rows]
        if not len(y):
            raise DataError(
                f"{found.uri}: expected test rows of the classes that the model knows. "
                "Received: none.",
                hint="Give more rows, or score all of a file with --test-data.",
            )
        findings = (*findings, *_odd(frame, schema))
        nothing = np.empty(0, np.uint64)  # which only training asks for
        return Tabular(schema=schema, source=frame, keys=nothing), y, findings


def _odd(frame: Frame, schema: Schema) -> list[Finding]:
    """What is not as in training, a column at a time: values that became missing, or are new."""
    bad: list[Finding] = []
    unseen: list[Finding] = []
    for column in schema.columns:
        alone = replace(schema, columns=(column,))
        values, told = encode.typed(frame, alone)
        bad += told
        unseen += drift.unseen(values, alone)
    kinds_first = [c.name for c in (*schema.numbers, *schema.times, *schema.lookups)]
    return [*bad, *sorted(unseen, key=lambda each: kinds_first.index(each.column))]


def rows(
    found: Found, schema: Schema, reading: DataOptions
) -> Iterator[tuple[encode.Raw, Kept, tuple[Finding, ...]]]:
    """Streams new rows as a model takes them, what predictions carry, and what is not as before.

    Raises:
        DataError: A column is missing, or a file is damaged.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    with arrow_errors(found.uri):
        yield from _rows(found, schema, reading.trimmed())


def _rows(
    found: Found, schema: Schema, reading: DataOptions
) -> Iterator[tuple[encode.Raw, Kept, tuple[Finding, ...]]]:
    last: tuple[encode.Raw, Kept, tuple[Finding, ...]] | None = None
    loose: tuple[Finding, ...] = ()  # of parts without rows
    known = _names(schema)
    for key, name in zip(found.tables, found.names(found.tables), strict=True):
        [path] = found.sources((key,))
        before = 0
        for table, written, index, told in batches(key, path, name, reading.dialect, known):
            total = before + table.num_rows
            frame = Frame(
                name=name,
                columns=dict(zip(table.column_names, table.columns, strict=True)),
                files=((name, total),),
                rows=np.arange(before, total),
                written=written,
                index=index,
            )
            frame = _headless(frame, schema)
            loose = (*loose, *told)
            odd = drift.check(frame, schema, reading.keep)
            if table.num_rows:
                columns, bad = encode.typed(frame, schema)
                kept, gone = _kept(frame, reading)
                if last:
                    yield last
                said = (*loose, *odd, *bad, *gone, *drift.unseen(columns, schema))
                last, loose = (encode.raw(columns, schema), kept, said), ()
            before = total
    if last is None:
        raise DataError(
            f"{found.uri}: expected at least one row. Received: none.",
            hint="Check the program that wrote the file.",
            details={"rows": 0},
        )
    yield last[0], last[1], (*last[2], *loose)


def _kept(frame: Frame, reading: DataOptions) -> tuple[Kept, tuple[Finding, ...]]:
    """The columns of --keep as the file has them; one that is not there is empty."""
    kept, gone = {}, []
    for name in reading.keep:
        values = frame.column(name)
        if values is None:
            gone.append(
                Finding(
                    code="kept-missing",
                    column=name,
                    count=len(frame),
                    of=len(frame),
                    values=fit.nearest(name, list(frame.columns)),
                )
            )
            values = pa.nulls(len(frame), pa.string())
        kept[name] = values
    return kept, tuple(gone)


def _names(schema: Schema) -> frozenset[str]:
    """All names that columns had in training."""
    names = {c.name for c in schema.columns} | {schema.label, *schema.ignored}
    return frozenset(names | ({schema.group} if schema.group else set()))


def _headless(frame: Frame, schema: Schema) -> Frame:
    """Gives columns without names their places in training, when only the label is not there."""
    names = _names(schema)
    if not all(re.fullmatch(r"x\d+", name) for name in (*names, *frame.columns)):
        return frame
    if len(frame.columns) != len(names) - 1:
        return frame
    wanted = sorted(names - {schema.label}, key=lambda name: int(name[1:]))
    return replace(frame, columns=dict(zip(wanted, frame.columns.values(), strict=True)))


def _labelled(
    found: Found, schema: Schema, classes: Classes, reading: DataOptions, place: Place = MEMORY
) -> tuple[Frame, NDArray[np.int32], tuple[Finding, ...]]:
    """Rows with a label that is known, the codes of their labels, and what is odd."""
    frame = read(found, reading.dialect, _names(schema), place)
    told = drift.check(frame, schema)
    label = frame.written.get(schema.label, schema.label)
    if label not in frame.columns:
        fit.chosen(frame, replace(reading, label=label))  # which says so
    how = labels.parsing(schema, classes, reading.dialect.missing)
    codes, lost = labels.known(frame, label, classes, how, place)
    findings = [*frame.findings, *told, *lost]
    unlabelled = int((codes == -1).sum())
    if unlabelled == len(codes):
        raise DataError(
            f"{frame.name}: expected labels in column {label!r}. Received: missing values only.",
            hint="Check --label.",
        )
    kept = place.where(codes >= 0, frame.name)
    if unlabelled:
        findings.append(Finding(code="unlabelled-rows", count=unlabelled, of=len(frame)))
    if not len(kept):
        raise DataError(
            f"{frame.name}: expected labels that occur in the training rows: "
            f"{', '.join(map(str, classes[:5]))}. Received: {lost[0].column[:80]!r} and no other "
            "one that does.",
            hint=labels.advice([each.column for each in lost], classes),
        )
    return (
        (frame if len(kept) == len(frame) else frame.take(kept, place)),
        place.taken(codes, kept, frame.name),
        tuple(findings),
    )


def _index(frame: Frame, reading: DataOptions) -> list[Finding]:
    asked = {*reading.columns, *reading.number, *reading.category, *reading.texts}
    asked |= {*reading.exclude, *reading.keep, str(reading.label), str(reading.group)}
    return [Finding(code="index-column", column=n) for n in frame.index if n not in asked]


def _recipe(
    frame: Frame,
    typed: Mapping[str, Typed],
    recipe: Recipe | None,
    reading: DataOptions,
    place: Place,
) -> tuple[Recipe, tuple[Finding, ...]]:
    """How test rows are chosen, and what is said when it is not as before."""
    if recipe is not None and recipe.group == reading.group:
        return recipe, split.lost(frame, recipe)
    moved: tuple[Finding, ...] = ()
    if recipe is not None:
        moved = (Finding(code="split-moved", count=1, values=("--group",)),)

    def useful(name: str) -> bool:
        return fit.useless(name, typed[name].array, reading, place) is None

    with ThreadPoolExecutor(place.threads) as pool:
        columns = tuple(n for n, kept in zip(typed, pool.map(useful, typed), strict=True) if kept)
    return Recipe(columns=columns or tuple(typed), group=reading.group), moved


def _plain_hashes(typed: Mapping[str, Typed], rows: int, place: Place, name: str) -> split.Known:
    """Hashes of the columns whose values are the numbers that any version reads."""
    numbers = (pa.int64(), pa.float64())
    plain = {
        column: each.array
        for column, each in typed.items()
        if each.plain and not each.findings and each.array.type in numbers
    }
    return split.Known.of(plain, rows, place, name)


def _expect_sides(
    frame: Frame, train: NDArray[np.int64], test: NDArray[np.int64], reading: DataOptions
) -> None:
    if not len(train) or not len(test):
        raise DataError(
            f"{frame.name}: expected enough rows to train and to test on with a test split of "
            f"{reading.test_split}. Received: {len(train)} and {len(test)}.",
            hint=f"Give {'a --group of more values' if reading.group else 'more rows'}, another "
            "--test-split, or a --test-data of your own.",
        )


def _compacted(
    values: Classes, codes: NDArray[np.int32], place: Place
) -> tuple[Classes, NDArray[np.int32]]:
    """The classes that occur, and (rows,) indices into them."""
    found = np.flatnonzero(counts(codes, len(values)))
    places = np.zeros(len(values), np.int32)
    places[found] = np.arange(len(found))
    return tuple(values[i] for i in found), place.taken(places, codes, "labels")


def _with_split(schema: Schema, recipe: Recipe | None) -> Schema:
    if recipe is None:
        return schema
    return replace(
        schema,
        hashed=(recipe.group,) if recipe.group else recipe.columns or (),
        hash_version=recipe.version,
        alone=(recipe.columns or ()) if recipe.group else (),
    )


def _moved(array: Any, changed: Callable[[Any], Any], place: Place, name: str) -> Any:
    """An Arrow column whose values a function has changed, in its place."""
    if not place.streamed:
        return changed(array)
    kind = changed(array.slice(0, 0)).type
    if kind == array.type:
        return array  # it stays as it is
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    return place.column(map(changed, chunks), kind, name)


def _settled(array: Any, place: Place, name: str) -> Any:
    """An Arrow column that was just made, or a copy of it in its place."""
    if not place.streamed:
        return array
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    return place.column(chunks, array.type, name)


def _hashes(
    arrays: Mapping[str, Any], schema: Schema, known: split.Known | None, place: Place
) -> hashing.Hashes:
    """(rows,) hashes of what the model learns from: equal rows are twins."""
    names = [column.name for column in schema.columns]
    if known is None:
        total = place.array((len(arrays[names[0]]),), np.uint64, names[0])
        total[...] = 0
    else:
        total = known.sums(names)
    for name in names:
        if known is None or name not in known.columns:
            hashing.add(total, name, arrays[name], meaning=hashing.no_number)
    hashing.mix(total)
    return total


def _digest(
    schema: Schema,
    classes: Classes,
    hashes: tuple[hashing.Hashes, ...],
    labels_of: tuple[NDArray[np.int32], ...],
) -> str:
    sha256 = hashlib.sha256(repr((classes, [c.name for c in schema.columns])).encode())
    for rows_of_side, y in zip(hashes, labels_of, strict=True):
        sha256.update(np.ascontiguousarray(rows_of_side).data)
        sha256.update(np.ascontiguousarray(y).data)
    return sha256.hexdigest()

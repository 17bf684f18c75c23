"""load(...): files of a table → Dataset; load_test(...) and rows(...) for a model that exists."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import hashing, splits
from job.data.dataset import Classes, Dataset, Split, Tabular
from job.data.files.listing import Found
from job.data.reading import Reading
from job.data.schema import Schema
from job.data.table import drift, encode, fit, group, kinds
from job.data.table.frame import Frame
from job.data.table.labels import classify, encode_labels, expect_classes, without_missing
from job.data.table.reader import arrow_errors, batches, read
from job.errors import DataError, UsageError


@dataclass(frozen=True, kw_only=True)
class Sides:
    """A table, split.

    Attributes:
        train: The rows to train on.
        test: The rows to test on.
    """

    train: Frame
    test: Frame


def load(found: Found, test: Found | None, *, validation_split: float, reading: Reading) -> Dataset:
    """Reads a labelled table.

    Args:
        found: Its files.
        test: The files of the test rows; held out by a hash when there are none.
        validation_split: Share of each class's training rows held out.
        reading: The options.

    Raises:
        UsageError: No label, or an option names a column that is not there.
        DataError: The table is damaged, or nothing to train a classifier on.
        DataNotFound, AccessDenied, StoreError: As `files.opened`.
    """
    with arrow_errors(found.uri):
        return _load(found, test, validation_split, reading)


def _load(found: Found, test: Found | None, validation_split: float, reading: Reading) -> Dataset:
    import pyarrow as pa

    if reading.label is None:
        raise UsageError(
            "--label: expected the column to predict, since --data is a table. Received: none.",
            hint="`mlp-job data` lists the columns.",
        )
    frame = read(found)
    candidates = fit.chosen(frame, reading)
    warnings: list[str] = []
    frame = without_missing(frame, reading.label, warnings)
    expect_classes(frame, reading.label)
    frame = frame.with_columns({name: _typed(frame, name, reading) for name in candidates})
    filled = (name for name in candidates if not pa.types.is_null(frame.columns[name].type))
    hashed = (reading.group,) if reading.group else tuple(filled)
    sides = _sides(frame, test, candidates, reading, warnings)
    train = sides.train
    classes, y = classify(train, reading.label, whole=frame)
    fit_rows, validation_rows = splits.stratified(y, validation_split, found.uri)
    typed = {name: train.columns[name] for name in candidates}
    schema, dropped = fit.fit(train, typed, fit_rows, reading)
    schema = replace(schema, hashed=() if test else hashed)
    changed = drift.check(sides.test, schema)
    train, test_rows = encode.typed(train, schema), encode.typed(sides.test, schema)
    warnings += [*dropped, *changed, *(drift.unseen(test_rows, schema) if test else ())]
    test_y = encode_labels(test_rows, reading.label, classes)
    test_split = Split(x=encode.compact(test_rows, schema), y=test_y)
    train_split = Split(x=encode.compact(train, schema), y=y)
    hashes = [_hashes(side, schema) for side in (train, test_rows)]
    return Dataset(
        uri=found.uri,
        digest=_digest(schema, classes, hashes, (y, test_y)),
        classes=classes,
        train=train_split,
        fit_rows=fit_rows,
        validation_rows=validation_rows,
        test=test_split,
        duplicates=len(hashing.duplicates(*hashes)),
        held_out_of=len(frame) if test is None and candidates else None,
        warnings=tuple(warnings),
        table=Tabular(schema=schema, test=encode.raw(test_rows, schema)),
    )


def load_test(
    found: Found, *, whole: bool, schema: Schema, classes: Classes, reading: Reading
) -> tuple[encode.Raw, NDArray[np.int32], tuple[str, ...]]:
    """Reads test rows for a model that exists.

    Args:
        found: Their files.
        whole: All rows are test rows; else those that a hash holds out.
        schema: What the model takes.
        classes: What the model tells apart.
        reading: The options of the model's training.

    Returns:
        The raw columns, (rows,) class indices, and what is not as in training.

    Raises:
        DataError: A column or a class is not what the model knows.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    warnings: list[str] = []
    with arrow_errors(found.uri):
        frame = read(found)
        changed = drift.check(frame, schema)
        if schema.label not in frame.columns:
            fit.chosen(frame, reading)  # which says so
        frame = without_missing(frame, schema.label, warnings)
        if not whole:
            hashed = schema.hashed or fit.chosen(frame, reading)
            _expect(frame, hashed)
            if reading.group:
                hashed = group.own(frame, reading.group, schema, reading)
                _expect(frame, hashed)
            frame = frame.with_columns({n: _typed(frame, n, reading) for n in hashed})
            rows_there = len(frame)
            frame = _sides(frame, None, hashed, reading, warnings).test
            warnings.append(splits.scored(len(frame), rows_there, found.uri))
        changed = (*changed, *drift.unseen(frame, schema))
        y = encode_labels(frame, schema.label, classes)
        return encode.raw(frame, schema), y, (*warnings, *changed)


def rows(found: Found, schema: Schema) -> Iterator[tuple[encode.Raw, tuple[str, ...]]]:
    """Streams new rows as a model takes them, with what is not as in training.

    Raises:
        DataError: A column is missing, or a value is not what its column was in training.
        DataNotFound, AccessDenied, StoreError: As `files.opened`.
    """
    with arrow_errors(found.uri):
        yield from _rows(found, schema)


def _rows(found: Found, schema: Schema) -> Iterator[tuple[encode.Raw, tuple[str, ...]]]:
    count = 0
    for key, name in zip(found.keys, found.names(found.keys), strict=True):
        [path] = found.fetch((key,))
        before = 0
        for batch in batches(key, path, name):
            columns = {n: _chunked(c) for n, c in zip(batch.schema.names, batch, strict=True)}
            total = before + batch.num_rows
            numbers = np.arange(before, total)
            frame = Frame(name=name, columns=columns, files=((name, total),), rows=numbers)
            said = drift.check(frame, schema)
            if batch.num_rows:
                yield encode.raw(frame, schema), (*said, *drift.unseen(frame, schema))
            before = total
            count += batch.num_rows
    if not count:
        raise DataError(
            f"{found.uri}: expected at least one row. Received: none.",
            hint="Check the program that wrote the file.",
        )


def _chunked(array: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([array])


def _typed(frame: Frame, name: str, reading: Reading) -> Any:
    import pyarrow as pa

    if name in reading.number:
        return kinds.demanded(
            frame, name, "number", why=", as --number says",
            way_out="; if the column is text, leave it out of --number",
        )  # fmt: skip
    if name in reading.category and pa.types.is_string(frame.columns[name].type):
        return kinds.demanded(frame, name, "text")
    return kinds.guessed(frame, name)


def _sides(
    frame: Frame,
    test: Found | None,
    hashed: tuple[str, ...],
    reading: Reading,
    warnings: list[str],
) -> Sides:
    label = str(reading.label)
    if test is not None:
        other = read(test)
        if label not in other.columns:
            fit.chosen(other, reading)
        return Sides(train=frame, test=without_missing(other, label, warnings))
    if reading.group:
        hashes = group.hashes(frame, reading.group, hashed, warnings)
    elif hashed:
        hashes = hashing.rows({name: frame.columns[name] for name in hashed})
    else:
        return Sides(train=frame, test=frame)
    out = hashing.held_out(hashes, reading.test_split)
    train_rows, test_rows = np.flatnonzero(~out), np.flatnonzero(out)
    if not len(train_rows) or not len(test_rows):
        raise DataError(
            f"{frame.name}: expected enough rows to train and to test on with a test split of "
            f"{reading.test_split}. Received: {len(train_rows)} and {len(test_rows)}.",
            hint=f"Give {'a --group of more values' if reading.group else 'more rows'}, another "
            "--test-split, or a --test-data of your own.",
        )
    return Sides(train=frame.take(train_rows), test=frame.take(test_rows))


def _expect(frame: Frame, hashed: tuple[str, ...]) -> None:
    for name in hashed:
        if name not in frame.columns:
            shown = ", ".join(repr(other[:40]) for other in list(frame.columns)[:12])
            raise DataError(
                f"{frame.name}: expected a column {name[:80]!r}, since its values chose the test "
                f"rows of the training. Received: {shown}.",
                hint="Score all rows of the file with --test-data.",
            )


def _hashes(frame: Frame, schema: Schema) -> hashing.Hashes:
    columns = {column.name: frame.columns[column.name] for column in schema.columns}
    return hashing.rows(columns, meaning=hashing.no_number)


def _digest(
    schema: Schema,
    classes: Classes,
    hashes: list[hashing.Hashes],
    labels: tuple[NDArray[np.int32], ...],
) -> str:
    sha256 = hashlib.sha256(repr((classes, [c.name for c in schema.columns])).encode())
    for rows_of_side, y in zip(hashes, labels, strict=True):
        sha256.update(rows_of_side.tobytes() + y.tobytes())
    return sha256.hexdigest()

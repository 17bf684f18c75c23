"""load(uri) → Dataset: finds the format, reads, checks, splits."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from job.data import files, idx, labels, mnist, npz, splits, staging, values
from job.data.dataset import Classes, Dataset, Labelled, Part, Split
from job.data.listing import TABLE, WILD, Found, find, look
from job.data.reading import Reading
from job.data.schema import Schema
from job.data.table import hashing
from job.errors import DataError, UsageError

Raw = Mapping[str, NDArray[Any]]
"""Column → (rows,) values, as a published model takes them."""

IMBALANCE = 10
"""Rows of the largest class for one of the smallest, from which on it is worth a word."""

READING = Reading()

Source = Callable[[Part], Labelled]
"""A data set of some format, opened: reads its training or its test rows."""


def load(
    uri: str,
    *,
    test_uri: str | None,
    validation_split: float,
    scratch: Path,
    reading: Reading = READING,
) -> Dataset:
    """Reads a labelled data set into memory.

    Args:
        uri: `mnist`, a folder of IDX files, an .npz file, or a table as one or several .csv,
            .csv.gz or .parquet files; local or s3://.
        test_uri: The same, for the test rows; by default they come from `uri`.
        validation_split: Share of the training rows held out, from 0 to below 1: the last rows of
            MNIST, the last rows of each class elsewhere.
        scratch: Where files from S3 are put; the caller removes it.
        reading: What the user said of the data besides.

    Raises:
        UsageError: A URI of a kind that is not known, or an option that does not fit the data.
        DataNotFound: There is nothing there.
        DataError: What is there is damaged, hostile, or nothing to train a classifier on.
        AccessDenied: It may not be read.
        StoreError: S3 or the disk kept failing.
    """
    dataset = _load(uri, test_uri, validation_split, scratch, reading)
    counts = np.bincount(dataset.train.y[dataset.fit_rows], minlength=len(dataset.classes))
    warnings = [*dataset.warnings, *_imbalance(counts, dataset.classes)]
    if dataset.duplicates:
        told = (
            f"{dataset.duplicates:,} of {len(dataset.test):,} test rows also occur among the "
            "training rows"
        )
        if reading.refuse_leakage:
            raise DataError(
                f"{uri}: expected test rows that training does not see, as --refuse-leakage says. "
                f"Received: {told}.",
                hint="Remove the duplicates, or keep what belongs together with --group.",
            )
        warnings.append(f"{told}: the test flatters the model.")
    return replace(dataset, warnings=tuple(warnings))


def _load(
    uri: str, test_uri: str | None, validation_split: float, scratch: Path, reading: Reading
) -> Dataset:
    found = _found(uri, scratch)
    if found is not None and _is_table(found):
        from job.data.table import load as table

        test_found = None if test_uri is None else find(test_uri, scratch)
        return table.load(found, test_found, validation_split=validation_split, reading=reading)
    source = _source(uri, scratch)
    rows = source("train")
    _refuse_table_options(reading, uri)
    classes, y = labels.index(rows)
    train = Split(x=rows.x, y=y)
    test_source = source if test_uri is None else _source(test_uri, scratch)
    test = _test_split(test_source, classes, rows.x.shape[1:], rows.x.dtype)
    if uri == "mnist":
        fit, validation = splits.last_share(len(y), validation_split, uri)
    else:
        fit, validation = splits.stratified(y, validation_split, uri)
    return Dataset(
        uri=uri,
        digest=digest(classes, train, test),
        classes=classes,
        train=train,
        fit_rows=fit,
        validation_rows=validation,
        test=test,
        # MNIST's are known to be apart.
        duplicates=None if uri == "mnist" and test_uri is None else _duplicates(train, test),
    )


def load_test(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    scratch: Path,
) -> Split:
    """Reads the test rows of a data set for a model that exists.

    Args:
        uri: As for `load`; not read when there is a `test_uri`.
        test_uri: Where the test rows are, if elsewhere.
        classes: What the model tells apart.
        shape: Of one row of its input.
        dtype: Of its input, uint8 or float32.
        scratch: Where files from S3 are put; the caller removes it.

    Raises:
        DataError: Besides what `load` raises it for, rows that the model does not take, and labels
            that it does not know.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    return _test_split(_source(test_uri or uri, scratch), classes, shape, np.dtype(dtype))


def table_rows(uri: str, schema: Schema, scratch: Path) -> Iterator[tuple[Raw, Sequence[str]]]:
    """Streams the rows of a table as a published model takes them.

    Args:
        uri: .csv, .csv.gz, .parquet or .jsonl, one or several; local or s3://.
        schema: What the model takes.
        scratch: Where files from S3 are put; the caller removes it.

    Yields:
        Column → (rows,) values, and sentences about what is not as in training.

    Raises:
        DataError: The file is damaged or empty, a column is missing, or a value does not fit.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    from job.data.table import load as table

    return table.rows(find(uri, scratch), schema)


def load_test_table(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    schema: Schema,
    reading: Reading,
    scratch: Path,
) -> tuple[Raw, NDArray[np.int32], tuple[str, ...]]:
    """Reads the test rows of a table for a model that exists.

    Args:
        uri: As for `load`; its test rows are those that a hash held out in training.
        test_uri: Test rows, all of them.
        classes: What the model tells apart.
        schema: What it takes.
        reading: The options of its training.
        scratch: Where files from S3 are put; the caller removes it.

    Returns:
        Column → (rows,) values, (rows,) class indices, and sentences about what is not as in
        training.

    Raises:
        As `load_test`.
    """
    from job.data.table import load as table

    return table.load_test(
        find(test_uri or uri, scratch),
        whole=test_uri is not None,
        schema=schema,
        classes=classes,
        reading=reading,
    )


def digest(classes: Classes, *parts: Split) -> str:
    """SHA-256 (hex) of classes and rows: the same for the same contents in any format."""
    sha256 = hashlib.sha256(json.dumps(classes).encode())
    for part in parts:
        for array in (part.x, part.y):
            sha256.update(f"{array.dtype.str} {array.shape}".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


def _test_split(
    source: Source, classes: Classes, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Split:
    rows = source("test")
    if rows.x.shape[1:] != shape:
        raise DataError(
            f"{rows.name}: expected rows of shape {shape}, as in training. "
            f"Received: {rows.x.shape[1:]}.",
            hint="Prepare the test rows as the training rows were.",
        )
    y = labels.encode(rows, classes)
    x = rows.x
    if x.dtype != dtype:
        x = values.convert(x, dtype, first=0, name=rows.name)
    return Split(x=x, y=y)


def _found(uri: str, scratch: Path) -> Found | None:
    """The files of a URI that may be a table; None for the formats that name their own."""
    if uri == "mnist" or uri.endswith(".npz"):
        return None
    return (find if WILD.search(uri) else look)(uri, scratch)


def _is_table(found: Found) -> bool:
    return any(TABLE.fullmatch(key) for key in found.keys)


def _refuse_table_options(reading: Reading, uri: str) -> None:
    for name in ("label", "columns", "exclude", "number", "category", "group"):
        if getattr(reading, name):
            raise UsageError(
                f"--{name}: expected a table, .csv or .parquet, as --data. Received: {uri!r}.",
                hint=f"Leave --{name} out.",
            )


def _duplicates(train: Split, test: Split) -> int:
    return len(hashing.duplicates(hashing.arrays(train.x), hashing.arrays(test.x)))


def _imbalance(counts: NDArray[np.int64], classes: Classes) -> list[str]:
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < IMBALANCE * max(int(counts[least]), 1):
        return []
    return [
        f"The classes are uneven: {counts[most]:,} training rows of "
        f"{labels.shown(classes[most])} and {counts[least]:,} of {labels.shown(classes[least])}; "
        "see --class-weights."
    ]


def _source(uri: str, scratch: Path) -> Source:
    if uri == "mnist":
        return mnist.read
    if uri.endswith(".npz"):
        return partial(npz.read, uri, staging.file(uri, scratch))
    folder = staging.folder(uri, scratch, idx.NAME)
    if not files.is_folder(folder, uri):
        raise DataError(
            f"{uri}: expected a folder of IDX files or a file whose name ends in .npz. "
            "Received: another file.",
            hint="Save with numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…).",
        )
    return partial(idx.read, uri, folder)

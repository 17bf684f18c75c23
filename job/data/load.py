"""load(uri) → Dataset: finds the format, reads, checks, splits."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from job.data import labels, quality, splits
from job.data.dataset import Classes, Dataset, Labelled, Part, Split
from job.data.files.listing import Found, copies, find, is_table
from job.data.findings import sentence
from job.data.reading import Reading
from job.data.sources import idx, images, mnist, npz, values
from job.errors import DataError, UsageError

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
        uri: `mnist`, a folder of IDX files or of class folders with images, an .npz file, or a
            table as one or several .csv, .csv.gz or .parquet files; local or s3://.
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
    return quality.checked(dataset, reading)


def _load(
    uri: str, test_uri: str | None, validation_split: float, scratch: Path, reading: Reading
) -> Dataset:
    found = _found(uri, scratch)
    if found is not None and is_table(found, reading.label):
        from job.data.table import load as table

        test_found = None if test_uri is None else find(test_uri, scratch)
        dataset = table.load(found, test_found, validation_split=validation_split, reading=reading)
        doubled = map(sentence, copies(found, found.tables))
        return replace(dataset, warnings=(*doubled, *dataset.warnings))
    whole = test_uri is not None
    source = _source(uri, found, reading, whole=whole)
    rows = source("train")
    _refuse_table_options(reading, uri)
    folders = isinstance(source, partial) and source.func is images.read
    classes, y = (
        labels.index(rows, hint="Give each class a folder of images; its name is the label.")
        if folders
        else labels.index(rows)
    )
    train = Split(x=rows.x, y=y)
    shape = rows.x.shape[1:]
    if test_uri is not None:
        test_found = _found(test_uri, scratch)
        source = _source(test_uri, test_found, reading, whole=True, shape=shape)
    elif isinstance(source, partial) and source.func is images.read:
        source = partial(source, shape=shape)
    test, of = _test_split(source, classes, shape, rows.x.dtype)
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
        duplicates=None if uri == "mnist" and test_uri is None else quality.duplicates(train, test),
        held_out_of=of,
    )


def load_test(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    scratch: Path,
    reading: Reading = READING,
) -> tuple[Split, tuple[str, ...]]:
    """Reads the test rows of a data set for a model that exists.

    Args:
        uri: As for `load`; not read when there is a `test_uri`.
        test_uri: Where the test rows are, if elsewhere.
        classes: What the model tells apart.
        shape: Of one row of its input.
        dtype: Of its input, uint8 or float32.
        scratch: Where files from S3 are put; the caller removes it.
        reading: The options of the model's training.

    Returns:
        The rows, and sentences about them.

    Raises:
        DataError: Besides what `load` raises it for, rows that the model does not take, and labels
            that it does not know.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    where, whole = test_uri or uri, test_uri is not None
    source = _source(where, _found(where, scratch), reading, whole=whole, shape=shape)
    test, of = _test_split(source, classes, shape, np.dtype(dtype))
    return test, () if of is None else (splits.scored(len(test), of, where),)


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
) -> tuple[Split, int | None]:
    """The test rows, and of how many a hash chose them."""
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
    return Split(x=x, y=y), rows.of


def _found(uri: str, scratch: Path) -> Found | None:
    """The files of a URI; None for the embedded data."""
    return None if uri == "mnist" else find(uri, scratch)


def _refuse_table_options(reading: Reading, uri: str) -> None:
    for name in ("label", "columns", "exclude", "number", "category", "group"):
        if getattr(reading, name):
            raise UsageError(
                f"--{name}: expected a table, .csv or .parquet, as --data. Received: {uri!r}.",
                hint=f"Leave --{name} out.",
            )


def _source(
    uri: str,
    found: Found | None,
    reading: Reading,
    *,
    whole: bool,
    shape: tuple[int, ...] | None = None,
) -> Source:
    if found is None:
        return mnist.read
    if uri.endswith(".npz") and found.single:
        [path] = found.fetch(found.keys)
        read, parted = partial(npz.read, uri, path), npz.has_test_rows(uri, path)
    elif found.images:
        return partial(images.read, found=found, reading=reading, whole=whole, shape=shape)
    elif found.single and not is_table(found):
        raise DataError(
            f"{uri}: expected a table, a folder of class folders with images or of IDX files, or "
            "an .npz file. Received: another file.",
            hint="If it is a table, name its column of labels in --label; save arrays with "
            "numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…).",
        )
    elif found.tables:
        raise DataError(
            f"{uri}: expected images or arrays, as the training rows were. Received: a table.",
            hint="Test on data of the kind that is trained on.",
        )
    else:
        read, parted = partial(idx.read, found), idx.has_test_rows(found)
    return read if whole or parted else splits.by_hash(read, reading.test_split)

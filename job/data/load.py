"""load(uri) → Dataset: finds the format, reads, checks, splits."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from job.data import files, idx, labels, mnist, npz, splits, staging, values
from job.data.dataset import Classes, Dataset, Labelled, Part, Split
from job.errors import DataError

Source = Callable[[Part], Labelled]
"""A data set of some format, opened: reads its training or its test rows."""


def load(uri: str, *, test_uri: str | None, validation_split: float, scratch: Path) -> Dataset:
    """Reads a labelled data set into memory.

    Args:
        uri: `mnist`, a folder of IDX files or an .npz file; local or s3://.
        test_uri: The same, for the test rows; by default they come from `uri`.
        validation_split: Share of the training rows held out, from 0 to below 1: the last rows of
            MNIST, the last rows of each class elsewhere.
        scratch: Where files from S3 are put; the caller removes it.

    Raises:
        UsageError: A URI of a kind that is not known.
        DataNotFound: There is nothing there.
        DataError: What is there is damaged, hostile, or nothing to train a classifier on.
        AccessDenied: It may not be read.
        StoreError: S3 or the disk kept failing.
    """
    source = _source(uri, scratch)
    rows = source("train")
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

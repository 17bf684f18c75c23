"""load(uri) → Dataset: finds the format, reads, checks, splits."""

import difflib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from job.config import DataOptions
from job.data import labels, quality, sizing, splits
from job.data.cache import bounded
from job.data.dataset import Classes, Dataset, Labelled, Part, Published, Split, Tabular
from job.data.files.listing import Found, copies, find, is_table
from job.data.findings import WORDS, Finding
from job.data.place import MEMORY, Place
from job.data.schema import Recipe, Schema
from job.data.sources import idx, imageset, imagetable, mnist, npz, values
from job.errors import DataError, UsageError
from job.storage import Open, open_store

READING = DataOptions()

FETCHED = 1 << 25
"""Bytes of a table in S3 that is fetched to see whether it names images."""


class Source(Protocol):
    """A data set of some format, opened: reads its training rows, its test rows or both."""

    def __call__(
        self, *parts: Part, whole: bool = False, shape: tuple[int, ...] | None = None
    ) -> list[Labelled]:
        """The rows of each part; with `whole` all rows are the one part's."""
        ...


def load(
    uri: str,
    *,
    test_uri: str | None,
    validation_split: splits.Share,
    scratch: Path,
    reading: DataOptions = READING,
    recipe: Recipe | None = None,
    like: Published | None = None,
    opener: Open = open_store,
) -> Dataset:
    """Reads a labelled data set.

    Args:
        uri: `mnist`, a folder of IDX files or of class folders with images, an .npz file, or a
            table as one or several .csv, .csv.gz or .parquet files; local or s3://.
        test_uri: The same, for the test rows; by default they come from `uri`.
        validation_split: Share of the training rows held out, from 0 to below 1: the last rows of
            MNIST, the last rows of each class elsewhere. Or a function that chooses it.
        scratch: Where files from S3 are put; the caller removes it.
        reading: What the user said of the data besides.
        recipe: How the model's earlier versions chose the test rows of a table.
        like: The version that a table is to be read for, when it is made again.
        opener: Opens the stores in S3.

    Raises:
        UsageError: A URI of a kind that is not known, or an option that does not fit the data.
        DataNotFound: There is nothing there.
        DataError: What is there is damaged, hostile, or nothing to train a classifier on.
        AccessDenied: It may not be read.
        StoreError: S3 or the disk kept failing.
    """
    _check_allowed(reading.allow)
    with bounded(reading.cache):
        dataset = _load(uri, test_uri, validation_split, scratch, reading, recipe, like, opener)
    return quality.checked(dataset, reading)


def _load(
    uri: str,
    test_uri: str | None,
    validation_split: splits.Share,
    scratch: Path,
    reading: DataOptions,
    recipe: Recipe | None,
    like: Published | None,
    opener: Open,
) -> Dataset:
    found = _found(uri, scratch, opener)
    other = None if test_uri is None else _found(test_uri, scratch, opener)
    size = sizing.of(reading, found, other)
    place = sizing.place(size, uri, reading.cache)
    source = _source(uri, found, reading, place)
    if found is not None and source is None:
        from job.data.table import load as table

        if test_uri is not None and other is None:
            raise DataError(
                f"{test_uri}: expected a table, as the training rows are. Received: images.",
                hint="Test on data of the kind that is trained on.",
            )
        dataset = table.load(
            found,
            other,
            validation_split=validation_split,
            reading=reading,
            recipe=recipe,
            like=like,
            place=place,
        )
        findings = (*copies(found, found.tables), *dataset.findings)
        return replace(dataset, findings=findings, size=size)
    if found is None or not is_table(found, reading.label):
        _refuse_table_options(reading, uri)
    source = _expect(uri, source)
    if test_uri is None:
        rows, test_rows = source("train", "test")
    else:
        [rows] = source("train", whole=True)
        tests = _expect(test_uri, _source(test_uri, other, reading, place))
        [test_rows] = tests("test", whole=True, shape=rows.x.shape[1:])
    classes, y = labels.index(rows, hint=_hint(found))
    train = Split(x=rows.x, y=y)
    test_rows = labels.without_unknown(test_rows, classes, place)
    test = _split(test_rows, classes, rows.x.shape[1:], rows.x.dtype)
    share = validation_split(False) if callable(validation_split) else validation_split
    if uri == "mnist":
        fit, validation = splits.last_share(len(y), share, uri)
    else:
        fit, validation = splits.stratified(y, share, uri, place)
    told = dict.fromkeys((*rows.findings, *test_rows.findings))
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
        held_out_of=test_rows.of,
        kept=test_rows.kept,
        findings=tuple(told),
        pictures=test_rows.again,
        size=size,
    )


def load_test(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    scratch: Path,
    reading: DataOptions = READING,
) -> tuple[Split, tuple[Finding, ...]]:
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
        The rows, and findings about them.

    Raises:
        DataError: Besides what `load` raises it for, rows that the model does not take, and labels
            that it does not know.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    where = test_uri or uri
    found = _found(where, scratch)
    place = sizing.place(sizing.of(reading, found), where, reading.cache)
    source = _expect(where, _source(where, found, reading, place))
    [rows] = source("test", whole=test_uri is not None, shape=shape)
    rows = labels.without_unknown(rows, classes, place)
    test = _split(rows, classes, shape, np.dtype(dtype))
    scored = () if rows.of is None else (splits.scored(len(test), rows.of, where),)
    return test, (*rows.findings, *scored)


def load_test_table(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    schema: Schema,
    reading: DataOptions,
    scratch: Path,
) -> tuple[Tabular, NDArray[np.int32], tuple[Finding, ...]]:
    """Reads the test rows of a table for a model that exists: all of `test_uri`, if there is one.

    Returns:
        The rows, (rows,) class indices, and what is not as in training.

    Raises:
        As `load_test`.
    """
    from job.data.table import load as table

    found = find(test_uri or uri, scratch)
    return table.load_test(
        found,
        whole=test_uri is not None,
        schema=schema,
        classes=classes,
        reading=reading,
        place=sizing.place(sizing.of(reading, found), found.uri, reading.cache),
    )


def identity(
    uri: str, reading: DataOptions = READING, opener: Open = open_store, *, contents: bool = True
) -> str | list[tuple[str, int, str]]:
    """What tells one data set from another, mostly without reading it: see `Found.identity`.

    The images that a table names count, too; "mnist" is itself.

    Args:
        uri: As for `load`.
        reading: What the user said of the data besides.
        opener: Opens the stores in S3.
        contents: Whether local files are told apart by their contents; else by the time of change.

    Raises:
        DataNotFound: There is nothing there.
        UsageError, DataError, AccessDenied, StoreError: As `load`.
    """
    if uri == "mnist":
        return uri
    with tempfile.TemporaryDirectory(prefix="mlp-job-") as scratch:
        found = find(uri, Path(scratch), opener)
        known = found.identity(contents=contents)
        near = all(file.path or file.size() <= FETCHED for file in found.files.values())
        if near and reading.label is not None and is_table(found, reading.label):
            images = imagetable.opened(found, reading)
            known += (
                []
                if images is None
                else [imagetable.version(f, contents=contents) for f in images.files]
            )
        return known


def digest(classes: Classes, *parts: Split) -> str:
    """SHA-256 (hex) of classes and rows: the same for the same contents in any format."""
    sha256 = hashlib.sha256(json.dumps(classes).encode())
    for part in parts:
        for array in (part.x, part.y):
            sha256.update(f"{array.dtype.str} {array.shape}".encode())
            sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


def _split(
    rows: Labelled, classes: Classes, shape: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Split:
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


def _check_allowed(codes: tuple[str, ...]) -> None:
    unknown = next((code for code in codes if code not in WORDS), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, WORDS, n=1)
        raise UsageError(
            f"--allow: expected the code of a finding. Received: {unknown!r}.",
            hint=f"Did you mean {near[0]}?" if near else f"Codes are {', '.join(WORDS)}.",
        )


def _found(uri: str, scratch: Path, opener: Open = open_store) -> Found | None:
    """The files of a URI; None for the embedded data."""
    return None if uri == "mnist" else find(uri, scratch, opener)


def _refuse_table_options(reading: DataOptions, uri: str) -> None:
    lists = ("columns", "exclude", "keep", "number", "category", "text", "csv")
    for name in ("label", *lists, "group"):
        if getattr(reading, name):
            raise UsageError(
                f"--{name}: expected a table, .csv or .parquet, as --data. Received: {uri!r}.",
                hint=f"Leave --{name} out.",
            )


def _source(
    uri: str, found: Found | None, reading: DataOptions, place: Place = MEMORY
) -> Source | None:
    """The rows of arrays or images; None for a table."""
    if found is None:
        return _arrays(mnist.read, parted=True, share=0, place=place)
    if is_table(found, reading.label):
        images = None if reading.label is None else imagetable.opened(found, reading)
        if images is None:
            return None
        return partial(imageset.read, images, reading=reading, place=place)
    if found.images:
        images = imageset.in_folders(found)
        return partial(imageset.read, images, reading=reading, place=place)
    if uri.endswith(".npz") and found.single:
        [path] = found.sources(found.keys, flying=place.streamed)
        parted = npz.has_test_rows(uri, path)
        read = partial(npz.read, uri, path, place=place)
        return _arrays(read, parted=parted, share=reading.test_split, place=place)
    if found.single:
        raise DataError(
            f"{uri}: expected a table, a folder of class folders with images or of IDX files, or "
            "an .npz file. Received: another file.",
            hint="If it is a table, name its column of labels in --label; save arrays with "
            "numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…).",
        )
    parted = idx.has_test_rows(found)
    read = partial(idx.read, found, place=place)
    return _arrays(read, parted=parted, share=reading.test_split, place=place)


def _expect(uri: str, source: Source | None) -> Source:
    if source is None:
        raise DataError(
            f"{uri}: expected images or arrays, as the training rows were. Received: a table.",
            hint="Test on data of the kind that is trained on.",
        )
    return source


def _arrays(
    read: Callable[[Part], Labelled], *, parted: bool, share: float, place: Place
) -> Source:
    def source(
        *parts: Part, whole: bool = False, shape: tuple[int, ...] | None = None
    ) -> list[Labelled]:
        del shape  # arrays have the shape that they have
        side = read if whole or parted else splits.by_hash(read, share, place)
        return [side(part) for part in parts]

    return source


def _hint(found: Found | None) -> str:
    """What to do about a single class."""
    if found is None or not found.images or found.single:
        return "Check that the labels are the right array, and not cut off."
    hint = "Give each class a folder of images; its name is the label."
    if found.tables:
        hint += f" Or name the column of labels of {found.name(found.tables[0])} in --label."
    return hint

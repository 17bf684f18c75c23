"""What the readers hand on (Labelled), and what training and evaluation see (Split, Dataset)."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from job.data import hashing
from job.data.findings import Finding, sentence
from job.data.place import counts
from job.data.schema import Schema
from job.data.sizing import IN_MEMORY, Size

Classes = tuple[int | str, ...]
"""All integers or all strings, sorted."""


Inputs = NDArray[np.uint8] | NDArray[np.float32]
"""(rows, *shape), uint8 for pixels, else float32; finite."""

Compact = Mapping[str, NDArray[Any]]
"""A table's rows as they lie on the device: `numbers`, (rows, n) float32 with NaN for what is
missing, `codes`, (rows, m) int32, `times`, (rows, k) int64, and `words`, (rows, l) int32; see
`job.data.table.encode.compact`."""

Raw = Mapping[str, NDArray[Any]]
"""Column → (rows,) values, as a published model of a table takes them."""

Kept = Mapping[str, Any]
"""Column → (rows,) Arrow or NumPy values that predictions carry: those of --keep as the file has
them, and of images the name of each file as `file`."""

RAW_ROWS = 1 << 16
"""Rows of a table as a published model takes them, texts as Python's, made at once."""

Part = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Rows and their labels as they stand in a file.

    Attributes:
        name: How messages call them.
        x: (rows, *shape), uint8 or float32; finite.
        labels: (rows,), integers, strings or bytes.
        of: How many were there, if a hash chose some of them.
        findings: What was assumed.
        kept: What predictions carry of them.
        again: Reads the same images at another size: the shape of one → (rows, *shape).
    """

    name: str
    x: Inputs
    labels: NDArray[Any]
    of: int | None = None
    findings: tuple[Finding, ...] = ()
    kept: Kept = field(default_factory=dict)
    again: Callable[[tuple[int, ...]], Inputs] | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Labelled rows.

    Attributes:
        x: (rows, *shape), uint8 for pixels, else float32; finite. Of a table, its `Compact` arrays.
        y: (rows,), int32; indices into the data set's classes.
    """

    x: Any
    y: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Published:
    """How a published version of a model reads a table.

    Attributes:
        schema: The columns that it takes.
        classes: What it tells apart.
    """

    schema: Schema
    classes: Classes


@dataclass(frozen=True, kw_only=True)
class Tabular:
    """What a table is besides its arrays.

    Attributes:
        schema: Its columns.
        source: The test rows as the file has them (`job.data.table.frame.Frame`).
        keys: (training rows,) uint64; rows of one key are equal, or of one group.
    """

    schema: Schema
    source: Any
    keys: NDArray[np.uint64]

    @functools.cached_property
    def test(self) -> Mapping[str, NDArray[Any]]:
        """The test rows as the published model takes them: column → (rows,)."""
        return self.rows_for(self.schema)

    def rows_for(self, schema: Schema) -> Mapping[str, NDArray[Any]]:
        """The test rows as another model takes them, whose reader may differ.

        Raises:
            DataError: A column that it takes is not there.
        """
        blocks = list(self.blocks(schema))
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def blocks(self, schema: Schema) -> Iterator[Mapping[str, NDArray[Any]]]:
        """As `rows_for`, some rows at a time."""
        from job.data.table import drift, encode

        drift.check(self.source, schema)
        for block in self.source.blocks(RAW_ROWS):
            columns, _ = encode.typed(block, schema)
            yield encode.raw(columns, schema)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that was read and checked.

    Attributes:
        uri: Where it was read from, as the user wrote it.
        digest: SHA-256 (hex) of the contents that were read, independent of path and packing.
        classes: The labels that occur in the training rows, sorted; integers or strings.
        train: All rows that came for training, those held out for validation included.
        fit_rows: (n,), int64; the rows of `train` that the gradient sees, ascending.
        validation_rows: (m,), int64; the rows of `train` held out for validation, ascending.
        test: The test rows, never seen in training.
        duplicates: Test rows that also occur among the training rows; None when not counted.
        held_out_of: Rows that a hash held the test rows out of; None when they came apart.
        findings: What a person should know of the data.
        table: The columns, when the data is a table; `x` is then `Compact`.
        kept: What predictions carry of the test rows.
        pictures: Reads the test images at another size: the shape of one → (rows, *shape).
        size: What reading it takes, and whether its rows lie on the disk for that.
    """

    uri: str
    digest: str
    classes: Classes
    train: Split
    fit_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    test: Split
    duplicates: int | None = None
    held_out_of: int | None = None
    findings: tuple[Finding, ...] = ()
    table: Tabular | None = None
    kept: Kept = field(default_factory=dict)
    pictures: Callable[[tuple[int, ...]], Inputs] | None = None
    size: Size = IN_MEMORY

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(map(sentence, self.findings))

    @property
    def schema(self) -> Schema | None:
        """The columns, when the data is a table."""
        return self.table.schema if self.table else None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row; of a table, as the first layer of the reference MLP sees it."""
        if self.table:
            return (self.table.schema.width,)
        shape: tuple[int, ...] = self.train.x.shape[1:]
        return shape

    @property
    def dtype(self) -> str:
        """The dtype of one row; of a table, as the first layer sees it."""
        return "float32" if self.table else str(self.train.x.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the training rows on the device."""
        x = self.train.x
        return sum(array.nbytes for array in (x.values() if isinstance(x, Mapping) else (x,)))

    def keys(self) -> NDArray[np.uint64]:
        """(training rows,) uint64; rows of one key belong together when rows are held out."""
        return hashing.arrays(self.train.x) if self.table is None else self.table.keys

    @property
    def shares(self) -> NDArray[np.float64]:
        """(classes,): each class's share of the training rows."""
        shares: NDArray[np.float64] = counts(self.train.y, len(self.classes)) / len(self.train)
        return shares

    def raw_test(self, count: int) -> "NDArray[Any] | Mapping[str, NDArray[Any]]":
        """The first test rows as the published model takes them: an array, or columns by name."""
        if self.table is None:
            rows: NDArray[Any] = self.test.x[:count]
            return rows
        block = next(self.table.blocks(self.table.schema))
        return {name: values[:count] for name, values in block.items()}

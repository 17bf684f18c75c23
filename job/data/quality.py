"""What is odd about a data set as a whole: test rows that training sees, uneven classes."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from job.config import DataOptions
from job.data import hashing, labels
from job.data.dataset import Classes, Dataset, Split
from job.data.findings import Finding, sentence
from job.data.place import counts
from job.data.schema import NUMBERED
from job.errors import DataError

FEW_VALUES = 10
"""Different rows that the columns can make up for one training row, below which equal ones are no
sign of copies."""

IMBALANCE = 10
"""Rows of the largest class for one of the smallest, from which on it is worth a word."""


def checked(dataset: Dataset, reading: DataOptions) -> Dataset:
    """The same data set with its warnings.

    Raises:
        DataError: Test rows also occur among the training rows, and that was to be refused.
    """
    seen = counts(dataset.train.y, len(dataset.classes), dataset.fit_rows)
    findings = [
        *dataset.findings,
        *_without_test_rows(dataset),
        *_imbalance(seen, dataset.classes),
    ]
    if dataset.duplicates:
        found = _leakage(dataset)
        if reading.refuse_leakage and found.code not in reading.allow:
            raise DataError(
                f"{dataset.uri}: expected test rows that training does not see, as "
                f"--refuse-leakage says. Received: {sentence(found)}",
                hint=f"Without --refuse-leakage, or with `--allow {found.code}`, it is a warning.",
            )
        findings.append(found)
    return replace(dataset, findings=tuple(findings))


def duplicates(train: Split, test: Split) -> int:
    """The test rows whose inputs are those of a training row."""
    return hashing.duplicates(hashing.arrays(train.x), hashing.arrays(test.x))


def _leakage(dataset: Dataset) -> Finding:
    """Why test rows are training rows, and the columns that have to do with it."""
    code, schema = "leakage", dataset.table and dataset.table.schema
    columns: tuple[str, ...] = ()
    if schema:
        learned, columns = {column.name for column in schema.columns}, schema.ignored
        others = tuple(name for name in schema.hashed if name not in learned)
        there = math.prod(column.distinct + column.has_missing for column in schema.columns)
        if schema.group:
            code = "leakage-of-groups"
        elif others:
            code, columns = "leakage-by-recipe", others
        elif schema.hashed and schema.hash_version != NUMBERED:
            code = "leakage-by-spelling"
        elif schema.hashed or there < FEW_VALUES * len(dataset.train):
            code = "few-different-rows"
    count = dataset.duplicates or 0
    return Finding(code=code, count=count, of=len(dataset.test), values=columns)


def _without_test_rows(dataset: Dataset) -> list[Finding]:
    """A finding about each class that has training rows and no test rows."""
    trained, tested = (
        counts(side.y, len(dataset.classes)) for side in (dataset.train, dataset.test)
    )
    return [
        Finding(code="class-without-test-rows", column=str(name), count=int(count))
        for name, count, tests in zip(dataset.classes, trained, tested, strict=True)
        if count and not tests
    ]


def _imbalance(seen: NDArray[np.int64], classes: Classes) -> list[Finding]:
    most, least = int(seen.argmax()), int(seen.argmin())
    if seen[most] < IMBALANCE * max(int(seen[least]), 1):
        return []
    return [
        Finding(
            code="uneven-classes",
            count=int(seen[least]),
            of=int(seen[most]),
            values=(labels.shown(classes[most]), labels.shown(classes[least])),
        )
    ]

"""What is odd about a data set as a whole: test rows that training sees, uneven classes."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from job.data import hashing, labels
from job.data.dataset import Classes, Dataset, Split
from job.data.reading import Reading
from job.errors import DataError

IMBALANCE = 10
"""Rows of the largest class for one of the smallest, from which on it is worth a word."""


def checked(dataset: Dataset, reading: Reading) -> Dataset:
    """The same data set with its warnings.

    Raises:
        DataError: Test rows also occur among the training rows, and that was to be refused.
    """
    counts = np.bincount(dataset.train.y[dataset.fit_rows], minlength=len(dataset.classes))
    warnings = [*dataset.warnings, *_imbalance(counts, dataset.classes)]
    if dataset.duplicates:
        told = (
            f"{dataset.duplicates:,} of {len(dataset.test):,} test rows also occur among the "
            "training rows"
        )
        if reading.refuse_leakage:
            raise DataError(
                f"{dataset.uri}: expected test rows that training does not see, as "
                f"--refuse-leakage says. Received: {told}.",
                hint="Remove the duplicates, or keep what belongs together with --group.",
            )
        warnings.append(f"{told}: the test flatters the model.")
    return replace(dataset, warnings=tuple(warnings))


def duplicates(train: Split, test: Split) -> int:
    """The test rows whose inputs are those of a training row."""
    return len(hashing.duplicates(hashing.arrays(train.x), hashing.arrays(test.x)))


def _imbalance(counts: NDArray[np.int64], classes: Classes) -> list[str]:
    most, least = int(counts.argmax()), int(counts.argmin())
    if counts[most] < IMBALANCE * max(int(counts[least]), 1):
        return []
    return [
        f"The classes are uneven: {counts[most]:,} training rows of "
        f"{labels.shown(classes[most])} and {counts[least]:,} of {labels.shown(classes[least])}; "
        "--class-weights weighs rare ones up."
    ]

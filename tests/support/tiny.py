"""A data set that is learned in a second: bright squares in one of four corners."""

import numpy as np

from job.data.dataset import Dataset, Split

CLASSES = ("ne", "nw", "se", "sw")


def split(rows: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, rows).astype(np.int32)
    x = rng.integers(0, 120, (rows, 8, 8)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        top, left = label // 2 * 4, label % 2 * 4
        image[top : top + 4, left : left + 4] += 90
    return Split(x=x, y=y)


def corners(rows: int = 600, validation: int = 100) -> Dataset:
    """`rows` training rows, of which the last `validation` are held out, and 200 test rows."""
    numbers = np.arange(rows)
    return Dataset(
        uri="corners",
        digest="0" * 64,
        classes=CLASSES,
        train=split(rows, 0),
        fit_rows=numbers[: rows - validation],
        validation_rows=numbers[rows - validation :],
        test=split(200, 1),
    )


def flat(dataset: Dataset, *, scale: float = 1.0) -> Dataset:
    """The same rows as float32 table columns."""

    def flattened(part: Split) -> Split:
        return Split(x=part.x.reshape(len(part), -1).astype(np.float32) * scale, y=part.y)

    return Dataset(
        uri=dataset.uri,
        digest=dataset.digest,
        classes=dataset.classes,
        train=flattened(dataset.train),
        fit_rows=dataset.fit_rows,
        validation_rows=dataset.validation_rows,
        test=flattened(dataset.test),
    )

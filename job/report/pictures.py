"""Test rows worth looking at, as pictures: samples of each class, and the surest mistakes."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Dataset
from job.report import plots
from job.report.rows import Answers

_SAMPLES = 20
_LONGEST_SIDE = 112


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One test image.

    Attributes:
        pixels: (height, width, 3), uint8.
        row: Its row in the test split, from 0.
        true: The class it is labelled with.
        said: The class that the model decided for.
        sure: The probability of that class, 0 to 1.
    """

    pixels: NDArray[np.uint8]
    row: int
    true: int | str
    said: int | str
    sure: float

    @property
    def uri(self) -> str:
        """The image as a `data:` URI."""
        return "data:image/png;base64," + base64.b64encode(plots.picture(self.pixels)).decode()


def samples(dataset: Dataset, answers: Answers) -> tuple[Picture, ...]:
    """The first test images of each class in turn, at most 20; of many classes, 20 spread evenly.

    Empty when the rows are not images.
    """
    classes = len(dataset.classes)
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, _SAMPLES)).astype(int))
    rounds = _SAMPLES // len(chosen)
    firsts = [np.flatnonzero(dataset.test.y == c)[:rounds] for c in chosen]
    return pictures(
        [rows[i] for i in range(rounds) for rows in firsts if i < len(rows)], dataset, answers
    )


def are_images(x: Any) -> bool:
    """True for (rows, height, width[, 1 or 3]) of uint8, or of floats from 0 to 1."""
    if isinstance(x, Mapping):  # the columns of a table
        return False
    shaped = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))
    if not shaped or min(x.shape[1:3]) < 2:
        return False
    return x.dtype == np.uint8 or bool(x.min() >= 0 and x.max() <= 1)


def pictures(
    rows: Iterable[int] | NDArray[np.int64], dataset: Dataset, answers: Answers
) -> tuple[Picture, ...]:
    """Some test rows as pictures; empty when they are not images."""
    if not are_images(dataset.test.x):
        return ()
    return tuple(
        Picture(
            pixels=_pixels(dataset.test.x[row]),
            row=int(row),
            true=dataset.classes[dataset.test.y[row]],
            said=dataset.classes[answers.predicted[row]],
            sure=float(answers.sure[row]),
        )
        for row in rows
    )


def _pixels(x: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """One image as (height, width, 3), uint8; a large one is thinned out, which is enough here."""
    pixels = x if x.dtype == np.uint8 else (x * 255).round().astype(np.uint8)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    stride = -(-max(pixels.shape[:2]) // _LONGEST_SIDE)
    return np.broadcast_to(
        pixels[::stride, ::stride], (*pixels[::stride, ::stride].shape[:2], 3)
    ).astype(np.uint8)

"""Test images as pictures: samples of each class, mix-ups, and the surest mistakes."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import hashing
from job.data.dataset import Dataset
from job.data.place import blocks
from job.evaluation.occlusion import Occlusion
from job.report import plots
from job.report.rows import Answers
from job.report.wording import Confusion

_SAMPLES = 20
_LONGEST_SIDE = 112

_WARM = np.array((235, 94, 40), np.float32)
"""The colour of places that an answer comes from."""

_LEAST = 0.02
"""A fall of the probability that is drawn as such, not as the largest of all."""

_EXAMPLES = 6


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One test image.

    Attributes:
        pixels: (height, width, 3), uint8.
        row: Its row in the test split, from 0.
        true: The class it is labelled with.
        said: The class that the model decided for.
        sure: The probability of that class, 0 to 1.
        places: The pixels with the places that the answer comes from in colour; None where nobody
            looked.
    """

    pixels: NDArray[np.uint8]
    row: int
    true: int | str
    said: int | str
    sure: float
    places: NDArray[np.uint8] | None = None

    @property
    def uri(self) -> str:
        """The image as a `data:` URI."""
        return _uri(self.pixels)

    @property
    def places_uri(self) -> str | None:
        """The places as a `data:` URI."""
        return None if self.places is None else _uri(self.places)


def samples(dataset: Dataset, answers: Answers) -> tuple[Picture, ...]:
    """Test images of each class in turn, at most 20; of many classes, 20 spread evenly.

    A hash of the row's number draws them, so that either feed shows the same. Empty when the
    rows are not images.
    """
    classes = len(dataset.classes)
    chosen = np.unique(np.linspace(0, classes - 1, min(classes, _SAMPLES)).astype(int))
    rounds = _SAMPLES // len(chosen)
    each = [drawn(dataset.test.y, c, rounds) for c in chosen]
    return pictures(
        [rows[i] for i in range(rounds) for rows in each if i < len(rows)], dataset, answers
    )


def drawn(y: NDArray[np.int32], label: int, most: int) -> NDArray[np.int64]:
    """The rows of a class whose numbers have the lowest hashes."""
    best = np.empty(0, np.int64)
    for some in blocks(len(y)):
        best = np.append(best, some.start + np.flatnonzero(y[some] == label))
        best = best[np.argsort(hashing.mixed(best.astype(np.uint64)), kind="stable")[:most]]
    return best


def are_images(x: Any) -> bool:
    """True for (rows, height, width[, 1 or 3]) of uint8, or of floats from 0 to 1."""
    if isinstance(x, Mapping):  # the columns of a table
        return False
    shaped = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))
    if not shaped or min(x.shape[1:3]) < 2:
        return False
    return x.dtype == np.uint8 or bool(x.min() >= 0 and x.max() <= 1)


def pictures(
    rows: Iterable[int] | NDArray[np.int64],
    dataset: Dataset,
    answers: Answers,
    occlusions: Sequence[Occlusion] = (),
) -> tuple[Picture, ...]:
    """Some test rows as pictures; empty when they are not images."""
    if not are_images(dataset.test.x):
        return ()
    lost = {each.row: each.lost for each in occlusions}
    return tuple(
        Picture(
            pixels=_pixels(dataset.test.x[row]),
            row=int(row),
            true=dataset.classes[dataset.test.y[row]],
            said=dataset.classes[answers.predicted[row]],
            sure=float(answers.sure[row]),
            places=_places(_pixels(dataset.test.x[row]), lost[row]) if row in lost else None,
        )
        for row in rows
    )


def examples(
    dataset: Dataset, answers: Answers, confusions: Sequence[Confusion]
) -> tuple[tuple[Confusion, tuple[Picture, ...]], ...]:
    """Test images of classes that are mixed up, at most 6 each, the surest first."""
    found = []
    for each in confusions:
        true, said = dataset.classes.index(each.true), dataset.classes.index(each.said)

        def mixed_up(some: slice, true: int = true, said: int = said) -> NDArray[np.bool_]:
            is_true = np.equal(dataset.test.y[some], true)
            return is_true & np.equal(answers.predicted[some], said)

        rows = answers.surest(mixed_up, _EXAMPLES)
        found.append((each, pictures(rows, dataset, answers)))
    return tuple(found)


def _uri(pixels: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(plots.picture(pixels)).decode()


def _places(pixels: NDArray[np.uint8], lost: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image in pale grey, the warmer the more of the answer is lost without a place."""
    height, width = pixels.shape[:2]
    rows, columns = (
        np.clip((np.arange(n) + 0.5) / n * len(lost) - 0.5, 0, len(lost) - 1)
        for n in (height, width)
    )
    grid = np.arange(len(lost))
    down = np.stack([np.interp(rows, grid, column) for column in lost.T], axis=1)
    heat = np.stack([np.interp(columns, grid, row) for row in down])
    share = np.clip(heat / max(float(lost.max()), _LEAST), 0, 1)[:, :, None] * 0.8
    grey = 0.6 * pixels.mean(axis=2, keepdims=True) + 60
    return np.asarray(np.round(grey * (1 - share) + _WARM * share), np.uint8)


def _pixels(x: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """One image as (height, width, 3), uint8; a large one is thinned out, which is enough here."""
    pixels = x if x.dtype == np.uint8 else (x * 255).round().astype(np.uint8)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    stride = -(-max(pixels.shape[:2]) // _LONGEST_SIDE)
    pixels = pixels[::stride, ::stride]
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8)

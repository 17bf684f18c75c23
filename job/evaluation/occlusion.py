"""occlusion: where in an image a wrong answer comes from, by covering one place after the other.

Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLACES, COVERED = 8, 0.25
"""Squares along each side of the image, and their size as a share of it."""

EXPLAINED = 6
"""Mistakes that are explained; 384 images are predicted for them."""


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """What an answer owes to each place of an image.

    Attributes:
        row: The image's row in the test split.
        lost: (PLACES, PLACES) float32, the probability of the answer less that with a square of
            the image's mean colour over the place; negative where the square speaks for it.
    """

    row: int
    lost: NDArray[np.float32]


def surest_mistakes(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> NDArray[np.int64]:
    """The rows whose most probable class is wrong, the surest first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != y)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")]


def occlusions(
    predict: Callable[[Any], NDArray[np.float32]],
    x: NDArray[Any],
    probabilities: NDArray[np.float32],
    rows: Sequence[int] | NDArray[np.int64],
) -> tuple[Occlusion, ...]:
    """Explains the answers for some images.

    Args:
        predict: (rows, height, width[, channels]) → (rows, classes).
        x: The test images.
        probabilities: (test rows, classes), what the model said of them.
        rows: Which to explain.
    """
    found = []
    for row in rows:
        answer = int(probabilities[row].argmax())
        said = predict(_covered(x[row]))[:, answer].reshape(PLACES, PLACES)
        lost = (probabilities[row, answer] - said).astype(np.float32)
        found.append(Occlusion(row=int(row), lost=lost))
    return tuple(found)


def _covered(image: NDArray[Any]) -> NDArray[Any]:
    """(PLACES², *image.shape): each with another square covered."""
    height, width = image.shape[:2]
    colour = image.mean(axis=(0, 1)).astype(image.dtype)
    done = np.repeat(image[None], PLACES**2, axis=0)
    for i, copy in enumerate(done):
        vertical, horizontal = (
            _span(place, n) for place, n in zip(divmod(i, PLACES), (height, width), strict=True)
        )
        copy[vertical, horizontal] = colour
    return done


def _span(place: int, length: int) -> slice:
    size = max(1, round(COVERED * length))
    centre = (place + 0.5) * length / PLACES
    first = round(centre - size / 2)
    return slice(max(0, first), max(1, first + size))

"""occlusion: where in an image a wrong answer comes from, by covering one place after the other.

Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
"""

from collections.abc import Callable, Mapping
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


def occlusions(
    predict: Callable[[Any], NDArray[np.float32]],
    x: NDArray[Any],
    answers: Mapping[int, int],
) -> tuple[Occlusion, ...]:
    """Explains the answers for some images.

    Args:
        predict: (rows, height, width[, channels]) → (rows, classes).
        x: The test images.
        answers: Row → the class that was answered, as an index.
    """
    found = []
    for row, answer in answers.items():
        said = predict(np.concatenate([x[row : row + 1], _covered(x[row])]))[:, answer]
        lost = (said[0] - said[1:]).reshape(PLACES, PLACES).astype(np.float32)
        found.append(Occlusion(row=row, lost=lost))
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

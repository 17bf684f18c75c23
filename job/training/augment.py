"""augment: shifts, rotations, zooms, flips and elastic distortions of training images.

The numbers are drawn anew for every epoch, a function of seed and epoch, in the order of the rows
of the epoch's steps, so that a resumed run sees the same images, whatever device computes them.

Source of the elastic distortion: Simard, Steinkraus, Platt, "Best Practices for Convolutional
Neural Networks Applied to Visual Document Analysis", 2003; here with cubic B-splines over a coarse
grid, after Rueckert et al., "Nonrigid Registration Using Free-Form Deformations", 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIFT, TURN, ZOOM = 0.1, 0.2, 0.1
"""At most: a share of height and width; radians (11 degrees); a share of the size."""

BEND, GRID = 0.12, 6
"""At most, a share of height and width that a point of the elastic grid moves; points on a side."""

NUMBERS = 5
"""For each image: vertical and horizontal shift, turn, zoom and side, each from -1 to 1. With
elastic, the vertical and horizontal moves of the grid's points follow."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to the images of each batch.

    Attributes:
        words: Some of shift, rotate, zoom, flip and elastic, at least one.
        seed: The run's.
    """

    words: Sequence[str]
    seed: int

    def draw(self, epoch: int, rows: int) -> NDArray[np.float32]:
        """(rows, numbers) for the rows of an epoch (from 0), in the order of its steps."""
        draws = np.random.default_rng((self.seed, epoch, 1)).random((rows, NUMBERS), np.float32)
        if "elastic" in self.words:
            generator = np.random.default_rng((self.seed, epoch, 2))
            moves = generator.random((rows, 2 * GRID * GRID), np.float32)
            draws = np.concatenate([draws, moves], axis=1)
        return 2 * draws - 1

    def change(self, x: Any, draws: Any) -> Any:
        """Changes a batch on the device.

        Args:
            x: (rows, height, width[, channels]), uint8 or float32.
            draws: (rows, numbers) of `draw`.

        Returns:
            The same shape and dtype. Between pixels it is interpolated linearly; places outside of
            an image have the value at its border.
        """
        return _resampled(x, *_sources(x.shape[1], x.shape[2], self.words, draws))


def _sources(height: int, width: int, words: Sequence[str], draws: Any) -> tuple[Any, Any]:
    """Where each pixel comes from: two of (rows, height, width) float32, the row and the column."""
    import tensorflow as tf

    vertical, horizontal, turn, zoom, side = tf.unstack(draws[:, :NUMBERS, None, None], axis=1)
    down = tf.range(height, dtype=tf.float32)[None, :, None] - (height - 1) / 2
    right = tf.range(width, dtype=tf.float32)[None, None, :] - (width - 1) / 2
    if "flip" in words:
        right = tf.where(side < 0, -right, right)
    if "zoom" in words:
        scale = 1 + ZOOM * zoom
        down, right = down * scale, right * scale
    if "rotate" in words:
        cos, sin = tf.cos(TURN * turn), tf.sin(TURN * turn)
        down, right = cos * down + sin * right, cos * right - sin * down
    if "shift" in words:
        down, right = down + SHIFT * height * vertical, right + SHIFT * width * horizontal
    if "elastic" in words:
        grid = tf.reshape(draws[:, NUMBERS:], (-1, 2, GRID, GRID))
        moves = tf.einsum("yi,rdij,xj->rdyx", _splines(height), grid, _splines(width))
        down, right = down + BEND * height * moves[:, 0], right + BEND * width * moves[:, 1]
    whole = tf.zeros((draws.shape[0], height, width))
    return whole + down + (height - 1) / 2, whole + right + (width - 1) / 2


def _splines(size: int) -> NDArray[np.float32]:
    """(size, GRID) what each point of the grid counts at each pixel; a row's sum is 1."""
    at = np.linspace(1, GRID - 2, size)[:, None]
    far = np.abs(at - np.arange(GRID)).clip(max=2)
    weights = np.where(far < 1, 2 / 3 - far**2 + far**3 / 2, (2 - far) ** 3 / 6)
    return weights.astype(np.float32)


def _resampled(x: Any, down: Any, right: Any) -> Any:
    """Images at other places, in one gather of four neighbours; XLA compiles no other way."""
    import tensorflow as tf

    rows, height, width = x.shape[0], x.shape[1], x.shape[2]
    down, right = tf.clip_by_value(down, 0, height - 1), tf.clip_by_value(right, 0, width - 1)
    top, left = tf.floor(down), tf.floor(right)
    low, near = down - top, right - left
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    bottom, far = tf.minimum(top + 1, height - 1), tf.minimum(left + 1, width - 1)
    first = tf.range(rows)[:, None, None] * height * width
    places = tf.stack(
        [first + y * width + z for y, z in ((top, left), (top, far), (bottom, left), (bottom, far))]
    )
    shares = tf.stack([(1 - low) * (1 - near), (1 - low) * near, low * (1 - near), low * near])
    flat = tf.reshape(x, (rows * height * width, -1))
    corners = tf.cast(tf.gather(flat, places), tf.float32)
    mixed = tf.reshape(tf.reduce_sum(corners * shares[..., None], axis=0), x.shape)
    return tf.cast(tf.round(mixed) if x.dtype.is_integer else mixed, x.dtype)

"""Occlusion: it finds the place that an answer comes from."""

import numpy as np

from job.evaluation import occlusion


def brightest_corner(x):
    """(rows, 4) probabilities by the mean of each corner, as a model that looks there would say."""
    half = x.shape[1] // 2
    corners = [x[:, :half, :half], x[:, :half, half:], x[:, half:, :half], x[:, half:, half:]]
    brightness = np.stack([part.mean(axis=(1, 2)) for part in corners], axis=1) / 25.0
    return np.exp(brightness) / np.exp(brightness).sum(axis=1, keepdims=True)


def test_what_an_answer_owes_to_each_place():
    x = np.zeros((2, 16, 20), np.uint8)
    x[0, 1:5, 12:18] = 255
    x[1, 11:15, 2:6] = 255
    found = occlusion.occlusions(brightest_corner, x, {1: 2, 0: 1})
    assert [each.row for each in found] == [1, 0]
    for each, corner in zip(
        found, [(slice(4, 8), slice(0, 4)), (slice(0, 4), slice(4, 8))], strict=True
    ):
        assert each.lost.shape == (8, 8)
        assert each.lost[corner].max() == each.lost.max() > 0.1
        elsewhere = each.lost.copy()
        elsewhere[corner] = 0
        assert each.lost.max() > 3 * elsewhere.max()


def test_every_pixel_of_any_size_is_covered_once_at_least():
    for shape in ((4, 4), (5, 9), (28, 28, 3), (100, 64)):
        image = np.random.default_rng(0).integers(0, 100, shape).astype(np.uint8)
        image[0, 0] = 255
        covered = occlusion._covered(image)
        assert (covered != image).any(axis=0).mean() > 0.9
        assert (covered[:, :, :] == image).any(axis=0).all()

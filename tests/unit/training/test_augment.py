"""Augmentation: a function of seed and epoch, the same compiled and not; exact resume."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny

from job import device, models, training
from job.config import Config
from job.errors import Preempted
from job.models import plan
from job.training import blocks
from job.training.augment import NUMBERS, Augmentation
from job.training.packed import digest

SOLID = ("shift", "rotate", "zoom", "flip")
ALL = (*SOLID, "elastic")


def changed(x, words=ALL, seed=0, epoch=0, xla=False):
    augmentation = Augmentation(words=words, seed=seed)
    change = tf.function(augmentation.change, jit_compile=xla, autograph=False)
    return change(tf.constant(x), tf.constant(augmentation.draw(epoch, len(x)))).numpy()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_every_image_of_an_epoch_is_drawn_from_seed_and_epoch():
    x = noise(5, 12, 9)
    first = changed(x, seed=1, epoch=2)
    assert (first == changed(x, seed=1, epoch=2)).all()
    for other in ({"seed": 2}, {"epoch": 3}):
        assert (first != changed(x, **({"seed": 1, "epoch": 2} | other))).any()
    draws = Augmentation(words=ALL, seed=1).draw(2, 1000)
    assert (np.abs(draws) <= 1).all()
    assert len(np.unique(draws)) > 0.98 * draws.size
    # Runs with other words see the images that they saw before there was this one.
    assert (draws[:, :NUMBERS] == Augmentation(words=SOLID, seed=1).draw(2, 1000)).all()
    assert first.shape == x.shape
    assert first.dtype == x.dtype


@pytest.mark.parametrize("shape", [(4, 16, 16), (4, 10, 14, 3)])
def test_xla_compiles_it_to_the_same_images(shape):
    x = noise(*shape)
    difference = np.abs(changed(x, xla=True).astype(int) - changed(x))
    assert difference.max() <= 1  # rounded from the last bit
    assert (difference > 0).mean() < 0.01


def test_elastic_bends_lines_smoothly_and_changes_nothing_where_the_grid_stays():
    x = np.zeros((32, 28, 28), np.uint8)
    x[:, :, 13:15] = 240  # a vertical line
    augmentation = Augmentation(words=("elastic",), seed=0)
    draws = augmentation.draw(0, len(x))
    done = augmentation.change(tf.constant(x), tf.constant(draws)).numpy().astype(float)
    at = (done * np.arange(28)).sum(axis=2) / done.sum(axis=2)
    assert 0.5 < at.std(axis=1).mean() < 2  # pixels
    assert np.abs(np.diff(at, 2, axis=1)).max() < 1
    same = augmentation.change(tf.constant(x), tf.zeros_like(draws)).numpy()
    assert (same == x).all()


@pytest.mark.parametrize("word", SOLID)
def test_each_word_does_what_it_says(word):
    x = np.zeros((64, 21, 21), np.uint8)
    x[:, 8:13, 4:9] = 240  # left of the centre
    done = changed(x, (word,))
    rows, columns = np.arange(21)[:, None], np.arange(21)[None, :]
    mass = done.sum(axis=(1, 2), dtype=float)
    down, right = ((done * axis).sum(axis=(1, 2)) / mass - 10 for axis in (rows, columns))
    if word == "flip":
        assert set(np.round(right).tolist()) == {-4, 4}
        assert np.allclose(down, 0)
    elif word == "shift":
        assert np.ptp(down) > 2
        assert np.ptp(right) > 2
        assert (np.abs(down) < 2.2).all()
    elif word == "rotate":
        assert np.allclose(np.hypot(down, right), 4, atol=0.1)
        assert 0.5 < np.abs(down).max() < 0.9
    else:
        assert np.ptp(mass) / mass.mean() > 0.2
        assert np.allclose(down, 0, atol=0.02)


def test_a_table_of_floats_keeps_its_values():
    x = noise(4, 9, 9).astype(np.float32) / 255
    done = changed(x)
    assert done.dtype == np.float32
    assert done.min() >= x.min()
    assert done.max() <= x.max()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp cnn", "mlp"])
def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bits(model, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)  # every block is one step
    dataset = tiny.corners(200, 40)
    config = plan.decide(
        Config.of(
            data="t", name="t", model=model, hidden=(8, 8), dropout=0.1, epochs=3, batch_size=50,
            augment=ALL,
        ),
        dataset,
        gpu=False,
    ).config  # fmt: skip

    def fit(**arguments):
        device.prepare("cpu")
        net = models.build(config, dataset)
        fitted = training.fit(net, dataset, config, **arguments)
        history = [dataclasses.replace(result, seconds=0) for result in fitted.history]
        return history, training.predict(fitted.network, dataset.test.x).tobytes()

    kept = []
    whole = fit(save=kept.append)
    last = digest(kept[-1].arrays)
    for at in (2, 7):
        asked, states = [], []

        def should_stop(at=at, asked=asked):
            asked.append(at)
            return len(asked) == at

        with pytest.raises(Preempted):
            fit(should_stop=should_stop, save=states.append)
        assert fit(resume=states[-1], save=kept.append) == whole, at
        assert digest(kept[-1].arrays) == last, at

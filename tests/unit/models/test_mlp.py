import dataclasses
import random

import keras
import numpy as np
import pytest
import tiny

from job import device
from job.config import Config
from job.data.dataset import Split
from job.models import mlp


@pytest.fixture(autouse=True, scope="module")
def _device():
    device.prepare("cpu")


def test_the_reference_model_for_pixels():
    net = mlp.build(Config(), tiny.corners())
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Rescaling", "Flatten", "Dense", "Dense", "Dense"]
    assert [layer.units for layer in net.layers[2:]] == [350, 50, 4]
    assert net.input_shape == (None, 8, 8)
    assert net.inputs[0].dtype == "uint8"
    assert type(net.optimizer) is keras.optimizers.Adam


def test_the_seed_alone_makes_the_initial_weights():
    def weights(seed, drawn):
        for _ in range(drawn):  # as botocore does for the pauses between its tries
            random.random()
        net = mlp.build(Config.of(hidden=(8,), dropout=0.5, seed=seed), tiny.corners())
        return [variable.numpy().tobytes() for variable in net.variables]

    assert weights(1, 0) == weights(1, 3) != weights(2, 0)


def test_raw_rows_in_probabilities_out():
    dataset = tiny.corners()
    probabilities = mlp.build(Config(), dataset).predict_on_batch(dataset.test.x)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_dropout_follows_every_hidden_layer():
    net = mlp.build(Config.of(hidden=(8, 8), dropout=0.5), tiny.corners())
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds[2:] == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_weights_and_probabilities_in_float32(precision):
    dataset = tiny.corners()
    net = mlp.build(Config.of(hidden=(8,), precision=precision), dataset)
    assert net.layers[2].compute_dtype == precision.removeprefix("mixed_")
    assert {weight.dtype for weight in net.trainable_weights} == {"float32"}
    assert net.predict_on_batch(dataset.test.x).dtype == np.float32


def test_columns_are_normalised_on_the_rows_that_are_fitted():
    dataset = tiny.flat(tiny.corners())
    dataset.train.x[dataset.validation_rows] = 1e6  # must not leak in
    net = mlp.build(Config.of(hidden=(8,)), dataset)
    rows = np.asarray(net.layers[0](dataset.train.x[dataset.fit_rows]))
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), 1, atol=1e-5)


def test_float_images_have_one_mean_and_variance():
    dataset = tiny.corners()
    images = Split(x=dataset.train.x.astype(np.float32), y=dataset.train.y)
    dataset = dataclasses.replace(dataset, train=images)
    net = mlp.build(Config.of(hidden=(8,)), dataset)
    rows = np.asarray(net.layers[0](images.x[dataset.fit_rows]))
    assert abs(rows.mean()) < 1e-5
    assert abs(rows.std() - 1) < 1e-5
    assert np.ptp(rows.mean(axis=0)) > 0.01


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e8])
def test_a_constant_feature_does_not_blow_up(constant):
    dataset = tiny.flat(tiny.corners())
    dataset.train.x[:, 3] = constant
    net = mlp.build(Config.of(hidden=(8,)), dataset)
    other = dataset.train.x[:1].copy()
    other[0, 3] = constant + max(1, abs(constant) * 1e-6)
    assert abs(np.asarray(net.layers[0](other))[0, 3]) < 1e4
    assert np.asarray(net.layers[0](dataset.train.x))[:, 3].tolist() == [0.0] * 600


def test_moments_are_those_of_numpy_whatever_the_chunk(monkeypatch):
    x = np.random.default_rng(0).normal(1e4, 1, (500, 3)).astype(np.float32)
    rows = np.arange(0, 500, 2)
    monkeypatch.setattr(mlp, "CHUNK", 33)
    mean, variance = mlp.moments(x, rows, per_feature=True)
    np.testing.assert_allclose(mean, x[rows].astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, x[rows].astype(np.float64).var(axis=0), rtol=1e-9)

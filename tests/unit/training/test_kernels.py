"""kernels: batch normalisation and dropout do what Keras's do."""

import contextlib

import numpy as np
import pytest

from job import device
from job.training import kernels


def trained(x, *, fast):
    """What a layer of its own says of a batch, its gradients, and its statistics afterwards."""
    import keras
    import tensorflow as tf

    norm = keras.layers.BatchNormalization(momentum=0.9)
    model = keras.Sequential([keras.Input(x.shape[1:]), norm])
    norm.gamma.assign([0.5, 2.0])
    norm.beta.assign([-1.0, 3.0])
    rows = tf.Variable(x)
    with tf.GradientTape() as tape:
        if fast:
            with kernels.fast(model):
                said = model(rows, training=True)
        else:
            said = model(rows, training=True)
        loss = tf.reduce_sum(said**3)
    slopes = tape.gradient(loss, [rows, norm.gamma.value, norm.beta.value])
    return [*(np.array(each) for each in (said, *slopes, *model.non_trainable_weights)), model]


@pytest.mark.parametrize("shape", [(32, 4, 4, 2), (3, 2, 1, 2), (1, 1, 1, 2)])
def test_a_fused_step_is_that_of_keras(shape):
    device.prepare("cpu")
    x = np.random.default_rng(0).normal(7, 3, shape).astype(np.float32)
    *keras_own, plain = trained(x, fast=False)
    *ours, model = trained(x, fast=True)
    for expected, found in zip(keras_own, ours, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-3)
    assert not np.array_equal(ours[-1], np.ones(2))  # the statistics moved
    np.testing.assert_allclose(  # and what is not training is Keras's own
        model(x, training=False), plain(x, training=False), rtol=1e-4, atol=1e-4
    )


def test_the_kernel_is_in_the_program_only_inside_the_block():
    import keras
    import tensorflow as tf

    device.prepare("cpu")
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.BatchNormalization()])
    x = tf.zeros((4, 2, 2, 3))

    def operations():
        traced = tf.function(lambda x: model(x, training=True)).get_concrete_function(x)
        return {each.type for each in traced.graph.get_operations()}

    with kernels.fast(model):
        assert "FusedBatchNormV3" in operations()
    assert "FusedBatchNormV3" not in operations()


@pytest.mark.parametrize("noise_shape", [None, (None, 1, 7)])
@pytest.mark.parametrize("xla", [False, True])
def test_dropout_draws_masks_by_its_seed(noise_shape, xla):
    import keras
    import tensorflow as tf

    device.prepare("cpu")
    x = tf.ones((50, 4, 7))

    def drawn(*, fast, xla):
        layer = keras.layers.Dropout(0.3, noise_shape, seed=5)
        model = keras.Sequential([keras.Input((4, 7)), layer])
        with kernels.fast(model) if fast else contextlib.nullcontext():
            draw = tf.function(lambda: model(x, training=True), jit_compile=xla)
            masks = [np.array(draw()) for _ in range(2)]
        assert (np.array(model(x, training=False)) == 1).all()
        return masks

    ours = drawn(fast=True, xla=xla)
    assert not np.array_equal(*ours)
    if xla:
        np.testing.assert_array_equal(drawn(fast=True, xla=True), ours)
    else:
        np.testing.assert_array_equal(drawn(fast=False, xla=False), ours)  # Keras's own
    for mask in ours:
        assert set(np.unique(mask)) == {0, np.float32(1 / 0.7)}
        assert 0.6 < (mask > 0).mean() < 0.8
        assert noise_shape is None or (mask == mask[:, :1]).all()

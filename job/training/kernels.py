"""kernels: batch normalisation and dropout as one processor computes them fastest."""

import contextlib
from collections.abc import Iterator
from typing import Any

from job.models.members import layers
from job.training import devices


@contextlib.contextmanager
def fast(model: Any) -> Iterator[None]:
    """Layers that are traced inside train with the kernels of this module.

    Only on one processor, where they were measured; see tests/bench. Several devices share
    statistics and masks, and on a GPU XLA fuses what Keras does.
    """
    import keras
    import tensorflow as tf

    ways = {keras.layers.BatchNormalization: _normalized, keras.layers.Dropout: _dropped}
    alone = devices.count(model) == 1 and not tf.config.get_visible_devices("GPU")
    found = layers(model) if alone else ()
    with devices.calling({each: ways[type(each)] for each in found if type(each) in ways}):
        yield


def _normalized(layer: Any, inputs: Any, training: bool = False, mask: Any = None) -> Any:
    """What Keras's BatchNormalization does, in one operation, to images with channels last."""
    import tensorflow as tf

    if not training or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    x = tf.cast(inputs, tf.float32)
    normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=layer.gamma, offset=layer.beta, mean=[], variance=[],
        epsilon=layer.epsilon, is_training=True,
    )  # fmt: skip
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    biased = variance * (count - 1) / count  # the kernel's variance is of a sample, Keras's is not
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    return tf.cast(normalized, layer.compute_dtype)


def _dropped(layer: Any, inputs: Any, training: bool = False) -> Any:
    """What Keras's Dropout does; the generator that XLA would choose takes 27 times as long.

    Source of the generator: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
    """
    import tensorflow as tf

    if not training:
        return inputs
    sizes, given = tf.shape(inputs), layer.noise_shape or [None] * len(inputs.shape)
    shape = [sizes[axis] if each is None else each for axis, each in enumerate(given)]
    seed = tf.math.floormod(layer.seed_generator.next(), tf.int32.max - 1)
    return tf.nn.experimental.stateless_dropout(
        inputs,
        rate=layer.rate,
        noise_shape=shape,
        seed=tf.cast(seed, tf.int32),
        rng_alg="philox",
    )

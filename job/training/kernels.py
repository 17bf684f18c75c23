"""kernels: batch normalisation in one operation, where Keras takes several passes over a batch."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from job.models.members import as_members
from job.training import devices


@contextlib.contextmanager
def fused(model: Any) -> Iterator[None]:
    """Batch normalisation that is traced inside trains with TensorFlow's own kernel.

    Only on one processor: it takes a third off a step of `cnn` there; see tests/bench. Several
    devices share their statistics, which the kernel cannot, and on a GPU XLA fuses the passes.
    """
    import keras
    import tensorflow as tf

    many = as_members(model)
    alone = devices.count(model) == 1 and not tf.config.get_visible_devices("GPU")
    layers = (many.network if many else model).layers if alone else ()
    norms = [each for each in layers if isinstance(each, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.call = functools.partial(_normalized, layer)
    try:
        yield
    finally:
        for layer in norms:
            del layer.call


def _normalized(layer: Any, inputs: Any, training: bool = False, mask: Any = None) -> Any:
    """What Keras's BatchNormalization does to images whose last axis has the channels."""
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

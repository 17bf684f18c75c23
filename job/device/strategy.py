"""strategy: what trains a model on several devices at once, TensorFlow's MirroredStrategy."""

import contextlib
from collections.abc import Iterator
from typing import Any

from job.device.proof import DeviceInfo


def strategy(info: DeviceInfo) -> Any:
    """A `tf.distribute.Strategy` over the devices that `prepare` has proved.

    Returns:
        TensorFlow's default one, which adds nothing, for one device.
    """
    import tensorflow as tf

    if info.count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(
        [f"{info.kind.upper()}:{i}" for i in range(info.count)],
        # Parts of one processor have one memory.
        tf.distribute.ReductionToOneDevice() if info.kind == "cpu" else None,
    )


@contextlib.contextmanager
def scope(strategy: Any) -> Iterator[None]:
    """What is built inside belongs to all devices of the strategy."""
    import tensorflow as tf

    if strategy.num_replicas_in_sync == 1:
        yield
        return

    def create(following: Any, **arguments: Any) -> Any:
        # Keras leaves it open for what is not trained, as the state of dropout and the statistics
        # of batch normalisation. Every device computes the same value; the first one's counts.
        if arguments.get("aggregation") in (None, tf.VariableAggregation.NONE):
            arguments["aggregation"] = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return following(**arguments)

    with strategy.scope(), tf.variable_creator_scope(create):
        yield

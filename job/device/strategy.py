"""strategy: TensorFlow's strategy for several devices, a MirroredStrategy on one host."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from job.device.proof import DeviceInfo

if TYPE_CHECKING:
    from job.device.peers import Peers


def strategy(info: DeviceInfo, peers: "Peers | None" = None) -> Any:
    """A `tf.distribute.Strategy` over the devices that `prepare` has proved.

    Args:
        info: The devices.
        peers: Other hosts that train along.

    Returns:
        TensorFlow's default one, which adds nothing, for one device.
    """
    import tensorflow as tf

    if peers:
        return peers.strategy
    if info.count == info.hosts:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(
        [f"{info.kind.upper()}:{i}" for i in range(info.count // info.hosts)],
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

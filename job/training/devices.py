"""devices: parts of a global batch, so that several devices train as one would.

Each device computes its part of every global batch, and the gradients are summed. Dropout draws
masks for the whole batch, and batch normalisation takes the statistics of all parts.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from job.models.members import as_members, layers


class Peers(Protocol):
    """The hosts that train together; see `job.device.peers`."""

    index: int
    hosts: int

    def agree(self, value: Any) -> Any:
        """What worker 0 gives."""

    def any(self, flag: bool) -> bool:
        """Whether one of them says so."""

    def gather(self, value: bytes) -> list[bytes]:
        """What all give, on worker 0."""

    def in_step(self) -> contextlib.AbstractContextManager[None]:
        """Inside, they agree often, or end."""

    def resting(self) -> contextlib.AbstractContextManager[None]:
        """Inside, they need not."""


class Alone:
    """One host, which agrees with itself."""

    index, hosts = 0, 1

    def agree(self, value: Any) -> Any:
        """The value."""
        return value

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def gather(self, value: bytes) -> list[bytes]:
        """The value, alone."""
        return [value]

    def in_step(self) -> contextlib.AbstractContextManager[None]:
        """Waits for nobody."""
        return contextlib.nullcontext()

    resting = in_step


ALONE = Alone()

_part: ContextVar["Part | None"] = ContextVar("part", default=None)
"""What the device computes whose step is being traced."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one of several devices computes of a global batch.

    Attributes:
        first, last: Its rows, from first to before last.
        of: Rows of the batch.
        weight: By which its mean loss is multiplied, so that the devices' losses add up to the
            mean of the batch, times the number of devices.
        counts: Whether its rows count in the metrics.
    """

    first: int
    last: int
    of: int
    weight: float
    counts: bool = True


def count(model: Any) -> int:
    """Devices that a model trains on."""
    return int(model.distribute_strategy.num_replicas_in_sync)


def part(rows: int) -> Part | None:
    """The part of the device whose step is being traced; None where it is the only one.

    A batch of fewer rows than devices is computed by each of them, and counted once.

    Args:
        rows: Of the global batch.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    devices = context.num_replicas_in_sync
    if devices == 1:
        return None
    number = int(tf.get_static_value(context.replica_id_in_sync_group))
    if rows < devices:
        return Part(first=0, last=rows, of=rows, weight=1.0, counts=number == 0)
    first, last = number * rows // devices, (number + 1) * rows // devices
    return Part(first=first, last=last, of=rows, weight=(last - first) * devices / rows)


def taken(part: Part | None, batch: Any) -> Any:
    """The part of a batch, whose arrays have its rows as their first axis."""
    import tensorflow as tf

    if part is None:
        return batch
    return tf.nest.map_structure(lambda each: each[part.first : part.last], batch)


@contextlib.contextmanager
def computing(part: Part | None, model: Any) -> Iterator[None]:
    """A step that is traced inside computes the part."""
    import tensorflow as tf

    before = part and not part.counts and [tf.identity(v.value) for v in model.metrics_variables]
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)
    for variable, value in zip(model.metrics_variables, before or (), strict=False):
        variable.assign(value)


def placed(strategy: Any, tensors: Any) -> Any:
    """The tensors on each device of a strategy."""
    import tensorflow as tf

    here = strategy.extended.worker_devices

    def copied(context: Any) -> Any:
        with tf.device(here[context.replica_id_in_sync_group % len(here)]):
            return tf.nest.map_structure(tf.identity, tensors)

    return strategy.experimental_distribute_values_from_function(copied)


@contextlib.contextmanager
def calling(changed: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Layers that are traced inside are called by a function of their own: (layer, *arguments)."""
    for layer, call in changed.items():
        layer.call = functools.partial(call, layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call


@contextlib.contextmanager
def as_one(model: Any) -> Iterator[None]:
    """Layers that look at a whole batch do so across the devices, until the block ends."""
    import keras

    found = layers(model) if count(model) > 1 else ()
    norms = [each for each in found if isinstance(each, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.synchronized = True
    try:
        with calling({each: _dropped for each in found if isinstance(each, keras.layers.Dropout)}):
            yield
    finally:
        for layer in norms:
            layer.synchronized = False


def _dropped(layer: Any, inputs: Any, training: bool = False) -> Any:
    """What Keras's Dropout does, with a part of the mask of the global batch."""
    import tensorflow as tf

    part, call = _part.get(), functools.partial(type(layer).call, layer, training=training)
    if part is None or not training:
        return call(inputs)
    mask = call(tf.ones((part.of, *inputs.shape[1:]), inputs.dtype))
    return inputs * mask[part.first : part.last]


def summands(variable: Any) -> list[Any]:
    """The variables of a metric: one on each device of this host, or itself."""
    return list(variable.value.values) if _is_sum(variable) else [variable.value]


def gathered(model: Any, values: Mapping[str, Any], peers: Peers) -> dict[str, Any]:
    """The metrics' variables with the summands of all hosts; on worker 0 only.

    Args:
        model: Whose metrics they are.
        values: Of this host, as `metric_values` gives them.
        peers: The hosts.
    """
    from safetensors.numpy import load, save

    hosts = [load(each) for each in peers.gather(save(dict(values)))]
    found = dict(values)
    for variable, name in zip(model.metrics_variables, values, strict=False):
        if _is_sum(variable) and len(hosts) > 1:
            own = [host[name].reshape(-1, *variable.shape) for host in hosts]
            found[name] = np.concatenate(own)
    return found


def _is_sum(variable: Any) -> bool:
    """Whether each device has a summand of the variable."""
    import tensorflow as tf

    value = variable.value
    apart = getattr(value, "synchronization", None) == tf.VariableSynchronization.ON_READ
    return apart and hasattr(value, "values")


def train_step(model: Any) -> Callable[[Any], object]:
    """Keras's own step; with several devices the same, for parts that need not be equal.

    Keras gives each device the same weight. `Members` does not, and has a step of its own.
    """
    if count(model) == 1 or as_members(model):
        step: Callable[[Any], object] = model.train_step
        return step
    return functools.partial(_weighted_step, model)


def _weighted_step(model: Any, batch: Any) -> None:
    import keras
    import tensorflow as tf

    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    part = _part.get()
    assert part is not None  # noqa: S101 - the loop has set it
    tracker = next(metric for metric in model.metrics if metric.name == "loss")
    with tf.GradientTape() as tape:
        said = model(x, training=True)
        loss = model.compute_loss(x, y, said, weights, training=True)
        tracker.update_state(loss * count(model), sample_weight=part.last - part.first)
        scaled = model.optimizer.scale_loss(loss * part.weight)
    gradients = tape.gradient(scaled, model.trainable_weights)
    model.optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    model.compute_metrics(x, y, said, weights)


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """What several devices are worth.

    Attributes:
        devices: How many there are.
        rows_per_second: Of all of them.
        alone: Of one, measured before training.
    """

    devices: int
    rows_per_second: float
    alone: float

    @property
    def efficiency(self) -> float:
        """The share of so many times one device's rate."""
        return self.rows_per_second / (self.devices * self.alone)

    def __str__(self) -> str:
        each = self.rows_per_second / self.devices
        return (
            f"{self.devices} devices train on {self.rows_per_second:,.0f} rows a second, "
            f"{each:,.0f} each; one alone on {self.alone:,.0f}: efficiency {self.efficiency:.0%}."
        )

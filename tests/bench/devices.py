"""Several virtual devices against one: an epoch of the default job, its history and weights.

    uv run python tests/bench/devices.py [ROUNDS]

What is one network in exact numbers comes apart by rounding: so one device is also tried with the
rows of each batch the other way round, and all of them in double precision. ROUNDS rounds of three
epochs, in turns, compare one replica inside the strategy with none.
"""

import contextlib
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from job import device, models, training
from job.config import Config
from job.data.dataset import Dataset
from job.experiment import read
from job.models import plan
from job.training import blocks, fitting

MOST = 4
SEEDS = range(5)
STEPS = (1, 10, 50, 100, 150, 192)
"""Of an epoch, after which weights are compared."""


def fit(
    dataset: Dataset,
    config: Config,
    devices: int,
    strategy: Any = None,
    *,
    double: bool = False,
    seen: Any = None,
) -> Any:
    info = device.DeviceInfo(kind="cpu", name="CPU", cores=MOST, count=devices)
    strategy = strategy or device.strategy(info)
    build = doubled if double else models.build
    plain = build(config, dataset) if devices > 1 else None
    with strategy.scope() if devices == 1 else contextlib.nullcontext():
        with device.scope(strategy):
            model = build(config, dataset)
        callbacks = [seen] if seen else []
        return training.fit(model, dataset, config, plain=plain, callbacks=callbacks)


def doubled(config: Config, dataset: Dataset) -> Any:
    """The same network and initial weights in double precision, as all of Keras from then on."""
    import keras

    single = models.build(config, dataset)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    model = type(single).from_config(
        json.loads(json.dumps(single.get_config()).replace("float32", "float64"))
    )
    model.compile_from_config(single.get_compile_config())
    model.set_weights(single.get_weights())
    return model


def apart(some: list[Any], others: list[Any]) -> float:
    return max(float(abs(a - b).max()) for a, b in zip(some, others, strict=True))


def paths(dataset: Dataset, config: Config, *, double: bool) -> dict[str, list[list[Any]]]:
    """Who trains → the weights after each of STEPS."""
    import keras

    class Seen(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, step: int, logs: Any = None) -> None:
            if step + 1 in STEPS and len(weights) < len(STEPS):
                weights.append([weight.numpy() for weight in self.model.trainable_weights])

    def turned(rows: Any, *, seed: int, epoch: int) -> Any:
        found = order(rows, seed=seed, epoch=epoch)
        size = config.training.batch_size or 0
        parts = np.split(found, range(size, len(found), size))
        return np.concatenate([part[::-1] for part in parts])

    found, order = {}, fitting.order
    for name, devices in (("alone", 1), ("turned", 1), ("2 devices", 2), ("4 devices", 4)):
        fitting.order = turned if name == "turned" else order
        weights: list[list[Any]] = []
        fit(dataset, config, devices, double=double, seen=Seen())
        found[name] = weights
    fitting.order = order
    return found


def numbers(fitted: Any) -> tuple[Any, list[Any]]:
    history = [[r.loss, r.accuracy, r.val_loss, r.val_accuracy] for r in fitted.history]
    return np.array(history), [weight.numpy() for weight in fitted.network.weights]


def main(rounds: int) -> None:
    device.import_libraries()
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * MOST)
    with tempfile.TemporaryDirectory() as folder:
        options = Config.of(data="mnist", epochs=1, xla=False)
        dataset = read(options, Path(folder))
        for seed in reversed(SEEDS):  # what follows takes the first
            config = plan.decide(options.replaced(seed=seed), dataset, gpu=False).config
            alone = numbers(fit(dataset, config, 1))
            for name, other, devices in (
                *([("XLA", config.replaced(xla=True), 1)] if seed == 0 else []),
                *((f"{count} devices", config, count) for count in range(2, MOST + 1)),
            ):
                fitted = fit(dataset, other, devices)
                history, weights = numbers(fitted)
                far = f"{abs(history - alone[0]).max():.1e}, weights {apart(weights, alone[1]):.1e}"
                print(f"seed {seed}, {name}: history {far}. {fitted.speedup or ''}", flush=True)
        usual, blocks.BLOCK_SECONDS = blocks.BLOCK_SECONDS, 1e-9  # every block is one step
        for double in (False, True):
            found = paths(dataset, config, double=double)
            for name, steps in found.items():
                offs = [f"{apart(a, b):.0e}" for a, b in zip(steps, found["alone"], strict=True)]
                print(f"{'double' if double else 'single'} precision, {name}:", *offs)
        blocks.BLOCK_SECONDS = usual
        seconds: dict[str, list[float]] = {"none": [], "one replica": []}
        for _ in range(rounds):
            for name, strategy in (
                ("none", None),
                ("one replica", tf.distribute.MirroredStrategy(["CPU:0"])),
            ):
                fitted = fit(dataset, config.replaced(epochs=3), 1, strategy)
                seconds[name] += [result.seconds for result in fitted.history[1:]]
        for name, found in seconds.items() if rounds else ():
            print(f"{name}: median of {len(found)} epochs {statistics.median(found):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)

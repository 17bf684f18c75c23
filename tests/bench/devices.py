"""Several virtual devices against one: an epoch of the default job, its history and weights.

    uv run python tests/bench/devices.py [ROUNDS]

ROUNDS rounds of three epochs, in turns, compare one replica inside the strategy with none.
"""

import contextlib
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

MOST = 4


def fit(dataset: Dataset, config: Config, devices: int, strategy: Any = None) -> Any:
    info = device.DeviceInfo(kind="cpu", name="CPU", cores=MOST, count=devices)
    strategy = strategy or device.strategy(info)
    plain = models.build(config, dataset) if devices > 1 else None
    with strategy.scope() if devices == 1 else contextlib.nullcontext():
        with device.scope(strategy):
            model = models.build(config, dataset)
        return training.fit(model, dataset, config, plain=plain)


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
        config = plan.decide(options, dataset, gpu=False).config
        alone = numbers(fit(dataset, config, 1))
        for name, other, devices in (
            ("XLA", config.replaced(xla=True), 1),
            ("2 devices", config, 2),
            ("4 devices", config, 4),
        ):
            fitted = fit(dataset, other, devices)
            history, weights = numbers(fitted)
            apart = max(abs(a - b).max() for a, b in zip(weights, alone[1], strict=True))
            print(f"{name}: history {abs(history - alone[0]).max():.1e}, weights {apart:.1e}")
            print(f"  {fitted.speedup or ''}")
        seconds: dict[str, list[float]] = {"none": [], "one replica": []}
        for _ in range(rounds):
            for name, strategy in (
                ("none", None),
                ("one replica", tf.distribute.MirroredStrategy(["CPU:0"])),
            ):
                fitted = fit(dataset, config.replaced(epochs=3), 1, strategy)
                seconds[name] += [result.seconds for result in fitted.history[1:]]
        for name, found in seconds.items():
            print(f"{name}: median of {len(found)} epochs {statistics.median(found):.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)

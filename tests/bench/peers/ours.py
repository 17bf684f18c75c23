"""This job's own steps, as `job.pipeline` calls them."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from common import DEVICE, HELD_OUT, Stopwatch, arguments

from job import data, device, training
from job.config import Config
from job.data.dataset import Split
from job.data.memory import aligned
from job.models import mlp

options = arguments()
config = Config.of(epochs=options.epochs, batch_size=options.batch_size, device=DEVICE)
device.prepare(DEVICE)
with tempfile.TemporaryDirectory() as scratch:
    dataset = data.load("mnist", test_uri=None, validation_split=0.2, scratch=Path(scratch))
if options.rows > len(dataset.train):
    numbers = np.arange(options.rows)
    x = aligned((options.rows, *dataset.train.x.shape[1:]), np.dtype(np.uint8))
    for start in range(0, options.rows, len(dataset.train)):
        x[start : start + len(dataset.train)] = dataset.train.x[: options.rows - start]
    split = options.rows * (len(dataset.train) - HELD_OUT) // len(dataset.train)
    dataset = dataclasses.replace(
        dataset,
        train=Split(x=x, y=np.resize(dataset.train.y, options.rows)),
        fit_rows=numbers[:split],
        validation_rows=numbers[split:],
    )

watch = Stopwatch()
network = mlp.build(config, dataset)
training.fit(network, dataset, config, on_epoch=lambda _: watch.epoch_ended())


def accuracy() -> float:
    return (training.predict(network, dataset.test.x).argmax(axis=1) == dataset.test.y).mean()


watch.report(accuracy)

"""The network of `--model cnn` on MNIST in three hands: this job's, plain Keras's, PyTorch's.

All have the same layers, batches of 128 and 54,000 rows to train on. Only this job averages weights
and validates, on 3,000 rows; it augments unless the second argument is `none`.
"""

import sys
import time

import numpy as np
from common import DEVICE, Stopwatch, mnist

HELD_OUT, EPOCHS, BATCH = 6_000, 2, 128


class Watch(Stopwatch):
    """Also counts seconds of processor time, which other work on the machine hardly changes."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = [time.process_time()]

    def epoch_ended(self) -> None:
        super().epoch_ended()
        self.busy.append(time.process_time())

    def report(self, predict) -> None:
        print(f"processor seconds of the last epoch: {self.busy[-1] - self.busy[-2]:.1f}")
        super().report(predict)


def ours(watch: Watch):
    import tempfile
    from pathlib import Path

    from job import data, device, models, training
    from job.config import Config
    from job.models import plan

    info = device.prepare(DEVICE)
    augment = tuple(sys.argv[2:]) or None
    config = Config.of(model="cnn", epochs=EPOCHS, device=DEVICE, augment=augment)
    with tempfile.TemporaryDirectory() as scratch:
        dataset = data.load("mnist", test_uri=None, validation_split=0.1, scratch=Path(scratch))
    settled = plan.decide(config, dataset, gpu=info.kind == "gpu").config
    watch.__init__()
    fitted = training.fit(
        models.build(settled, dataset), dataset, settled, on_epoch=lambda _: watch.epoch_ended()
    )
    said = training.predict(fitted.network, dataset.test.x)
    return lambda: (said.argmax(axis=1) == dataset.test.y).mean()


def plain(watch: Watch):
    import keras

    x, y, x_test, y_test = mnist()
    rows = len(x) - HELD_OUT
    x, x_test = (each.reshape(-1, 28, 28, 1).astype("float32") / 255 for each in (x, x_test))
    layers = [keras.Input((28, 28, 1))]
    for channels, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers += [
            keras.layers.Conv2D(channels, 3, stride, "same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Activation("relu"),
        ]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, activation="softmax")]
    model = keras.Sequential(layers)
    model.compile(
        optimizer=keras.optimizers.AdamW(0.004),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    watch.__init__()
    model.fit(
        x[:rows], y[:rows], epochs=EPOCHS, batch_size=BATCH, verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: watch.epoch_ended())],
    )  # fmt: skip
    return lambda: model.evaluate(x_test, y_test, verbose=0)[1]


def pytorch(watch: Watch):
    import torch
    from torch import nn

    x, y, x_test, y_test = mnist()
    rows = len(x) - HELD_OUT
    place = "cuda" if DEVICE == "gpu" else "cpu"
    x, x_test = (torch.tensor(each.reshape(-1, 1, 28, 28), device=place) for each in (x, x_test))
    y, y_test = (torch.tensor(each.astype(np.int64), device=place) for each in (y, y_test))
    layers, before = [], 1
    for channels, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers += [nn.Conv2d(before, channels, 3, stride, 1, bias=False)]
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        before = channels
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    model = model.to(place, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004, fused=True)
    cross_entropy = nn.CrossEntropyLoss()
    watch.__init__()
    for _ in range(EPOCHS):
        for batch in torch.randperm(rows, device=place).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            pixels = x[batch].float().div_(255).to(memory_format=torch.channels_last)
            cross_entropy(model(pixels), y[batch]).backward()
            optimizer.step()
        float(model[0].weight.sum())  # waits for the device
        watch.epoch_ended()
    model.eval()
    with torch.no_grad():
        said = [model(part.float().div_(255)).argmax(1) for part in x_test.split(1000)]
    return lambda: float((torch.cat(said) == y_test).float().mean())


if __name__ == "__main__":
    clock = Watch()
    clock.report({"mlp-job": ours, "plain": plain, "pytorch": pytorch}[sys.argv[1]](clock))

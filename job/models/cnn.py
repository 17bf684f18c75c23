"""cnn: a small convolutional network for images, one or several, alone or beside `mlp`.

Sources: convolution, batch normalisation, ReLU (Ioffe, Szegedy, "Batch Normalization", 2015);
stages of 3 × 3 convolutions (Simonyan, Zisserman, "Very Deep Convolutional Networks", 2015) that
halve the image by their stride (Springenberg et al., "Striving for Simplicity", 2015); the global
average in place of a wide dense layer (Lin, Chen, Yan, "Network in Network", 2014); a stem of
strided 3 × 3 convolutions for larger images (He et al., "Bag of Tricks for Image Classification",
2019); initial weights (He et al., "Delving Deep into Rectifiers", 2015); a learning rate that
rises and falls once (Smith, Topin, "Super-Convergence", 2018), here as a cosine; AdamW
(Loshchilov, Hutter, 2019); averaged weights (Polyak, Juditsky, 1992).
"""

import itertools
import math
from typing import Any

from job.config import Config
from job.data.dataset import Dataset
from job.models import mlp, plan
from job.models.members import expect_room, side_by_side

STEM_CHANNELS = 16
"""Of each convolution that halves a large image before the first stage."""

NORM_MOMENTUM = 0.9
"""Of batch normalisation's statistics."""

WEIGHT_DECAY, WARM_UP, START = 0.02, 0.2, 0.04
"""AdamW's; the share of the steps in which the rate rises; and where it starts, of its peak."""

AVERAGED_STEPS = (10, 250)
"""The moving average of the weights reaches over half an epoch, between so many steps."""


def build(config: Config, dataset: Dataset) -> Any:
    """Compiled `Members` on images, (rows, height, width[, channels]), uint8 or float32.

    The families that `--model` names stand side by side, each with `--members` networks, and none
    shares a weight with another. The initial weights follow from the seed alone.

    Args:
        config: Nothing in it is open; see `plan.decide`.
        dataset: Images.
    """
    import keras

    keras.utils.set_random_seed(config.training.seed)
    members, classes = int(config.model.members or 1), len(dataset.classes)
    rows, scale = mlp.scaled(config, dataset)
    pixels = scale(rows)
    heads: list[Any] = []
    families = config.model.model.split()
    for family in families:
        if family == "mlp":
            layers = config.replaced(hidden=plan.REFERENCE["hidden"])
            flat = keras.layers.Flatten(dtype=config.training.precision)(pixels)
            heads.append(mlp.several(layers, flat, members, classes))
        else:
            channels = config.model.hidden or ()
            twice = ((each, each) for each in channels[1:])
            expect_room(
                members, *((3, 3, *each) for each in (*itertools.pairwise(channels), *twice))
            )
            heads += [_logits(config, pixels, classes) for _ in range(members)]
    network = keras.Model(
        rows, heads[0] if len(heads) == 1 else keras.layers.Concatenate(1)(heads), name="cnn"
    )
    return side_by_side(
        network,
        _optimizer(config, dataset),
        config,
        dataset,
        average=_momentum(_steps(config, dataset)),
        parts=[keras.Model(rows, head) for head in heads],
        families=families if len(families) > 1 else (),
    )


def _logits(config: Config, pixels: Any, classes: int) -> Any:
    """(rows, height, width[, channels]) → (rows, 1, classes): one network."""
    import keras

    dtype = config.training.precision
    height, width = pixels.shape[1:3]
    x = pixels
    if len(x.shape) == 3:
        x = keras.layers.Reshape((height, width, 1), dtype=dtype)(x)

    def convolution(x: Any, channels: int, stride: int) -> Any:
        x = keras.layers.Conv2D(
            channels, 3, stride, "same", use_bias=False, kernel_initializer="he_normal", dtype=dtype
        )(x)
        x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, dtype=dtype)(x)
        return keras.layers.Activation(config.model.activation, dtype=dtype)(x)

    while min(x.shape[1:3]) > plan.STEM_SIDE:
        x = convolution(x, STEM_CHANNELS, 2)
    for stage, count in enumerate(config.model.hidden or ()):
        x = convolution(x, count, 2 if stage else 1)
        if stage:
            x = convolution(x, count, 1)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
    if config.model.dropout:
        x = keras.layers.Dropout(config.model.dropout, dtype=dtype)(x)
    x = keras.layers.Dense(classes, dtype="float32")(x)
    return keras.layers.Reshape((1, classes), dtype="float32")(x)


def _steps(config: Config, dataset: Dataset) -> int:
    """Of an epoch."""
    return math.ceil(len(dataset.fit_rows) / int(config.training.batch_size or 1))


def _momentum(steps: int) -> float:
    """Of the moving average of the weights."""
    shortest, longest = AVERAGED_STEPS
    return 1 - 1 / min(longest, max(shortest, steps // 2))


def _optimizer(config: Config, dataset: Dataset) -> Any:
    import keras

    steps = _steps(config, dataset) * int(config.training.epochs or 1)
    rise, peak = max(1, round(WARM_UP * steps)), float(config.training.learning_rate or 0)
    rate = keras.optimizers.schedules.CosineDecay(
        START * peak, max(1, steps - rise), warmup_target=peak, warmup_steps=rise
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer

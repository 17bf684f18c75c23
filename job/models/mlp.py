"""mlp: the reference network, a Keras model that is trained and published."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.data.dataset import Dataset
from job.models import inputs, plan
from job.models.members import dense, expect_room, loss_scaled, side_by_side

LOSS = "sparse_categorical_crossentropy"

MOMENTUM = 0.99
"""Of the moving average of several members' weights."""

CHUNK = 65_536
"""Rows that are converted to float64 at a time when a mean is taken."""


def build(config: Config, dataset: Dataset) -> Any:
    """A compiled model that takes rows and gives probabilities.

    Input: (rows, *shape) as in `dataset.train.x`, uint8 or float32, for a `keras.Sequential`; of a
    table its `Compact` arrays, for a Functional model. Output: (rows, classes), float32, softmax.
    Pixels are divided by 255, other numbers normalised with the mean and the
    variance of `dataset.fit_rows`, so that neither validation nor test rows leak in. The loss is
    categorical cross-entropy; labels are indices (`sparse_…`), which spares the one-hot table.
    The initial weights, and the state of dropout, are a function of `config.training.seed` alone.
    """
    import keras

    # Here and no earlier: who draws from Python's generator in between, as botocore does for the
    # pauses between its tries, would change the weights.
    keras.utils.set_random_seed(config.training.seed)
    config = plan.reference(config)
    if (config.model.members or 1) > 1:
        return _ensemble(config, dataset)
    precision = config.training.precision
    classes = len(dataset.classes)
    hidden: list[Any] = []
    for units in config.model.hidden or ():
        hidden.append(
            keras.layers.Dense(units, activation=config.model.activation, dtype=precision)
        )
        if config.model.dropout:
            hidden.append(keras.layers.Dropout(config.model.dropout, dtype=precision))
    # float32 whatever the precision: probabilities in half precision do not sum to 1.
    head = keras.layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")
    if dataset.table:
        rows = inputs.tensors(dataset.table.schema)
        features = inputs.standard(dataset.table.schema, rows)
        expect_room(1, *_layers(config, int(features.shape[-1]), classes))
        for layer in (*hidden, head):
            features = layer(features)
        model = keras.Model(rows, features, name="mlp")
    else:
        expect_room(1, *_layers(config, math.prod(dataset.shape), classes))
        flatten = [keras.layers.Flatten(dtype=precision)] if dataset.train.x.ndim > 2 else []
        layers = [*scaled(config, dataset), *flatten, *hidden, head]
        model = keras.Sequential(layers, name="mlp")
    model.compile(
        optimizer=loss_scaled(keras.optimizers.Adam(config.training.learning_rate), config),
        loss=LOSS,
        metrics=["accuracy"],
        auto_scale_loss=False,
        jit_compile=False,  # fitting.py compiles the whole loop; predictions take any row count
    )
    return model


def _ensemble(config: Config, dataset: Dataset) -> Any:
    """The same network several times, as `Members` that are independent."""
    import keras

    members = int(config.model.members or 1)
    if dataset.table:
        rows: Any = inputs.tensors(dataset.table.schema)
        features = inputs.standard(dataset.table.schema, rows, members)
    else:
        rows, scale = scaled(config, dataset)
        features = scale(rows)
        if len(features.shape) > 2:
            features = keras.layers.Flatten(dtype=config.training.precision)(features)
    return side_by_side(
        keras.Model(rows, several(config, features, members, len(dataset.classes)), name="mlp"),
        keras.optimizers.Adam(config.training.learning_rate),
        config,
        dataset,
        average=MOMENTUM,
    )


def several(config: Config, features: Any, members: int, classes: int) -> Any:
    """(rows[, members], features) → (rows, members, classes): logits of independent networks."""
    import keras

    precision = config.training.precision
    expect_room(members, *_layers(config, int(features.shape[-1]), classes))
    hidden = features
    for units in config.model.hidden or ():
        hidden = dense(hidden, units, members, precision)
        hidden = keras.layers.Activation(config.model.activation, dtype=precision)(hidden)
        if config.model.dropout:
            hidden = keras.layers.Dropout(config.model.dropout, dtype=precision)(hidden)
    return dense(hidden, classes, members, "float32")


def _layers(config: Config, width: int, classes: int) -> Iterator[tuple[int, int]]:
    """The shapes of a network's weights, from the width of its features to its classes."""
    return itertools.pairwise((width, *(config.model.hidden or ()), classes))


def scaled(config: Config, dataset: Dataset) -> tuple[Any, Any]:
    """The input of arrays, and the layer that scales it: pixels to 0 … 1, numbers normalised."""
    import keras

    x = dataset.train.x
    rows = keras.Input(x.shape[1:], dtype=x.dtype.name, name="rows")
    if x.dtype == np.uint8:
        return rows, keras.layers.Rescaling(1 / 255, dtype=config.training.precision)
    return rows, _normalization(x, dataset.fit_rows)


def parameters(model: Any) -> int:
    """Number of trained weights."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _normalization(x: NDArray[Any], fit_rows: NDArray[np.int64]) -> Any:
    """A Normalization layer: per feature for flat rows, one mean and variance for images."""
    import keras

    per_feature = x.ndim == 2
    mean, variance = moments(x, fit_rows, per_feature=per_feature)
    return keras.layers.Normalization(
        axis=-1 if per_feature else None,
        mean=mean,
        variance=variance,
        dtype="float32",
    )


def moments(
    x: NDArray[Any], rows: NDArray[np.int64], *, per_feature: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of some rows, in float64 and two passes, in flat memory.

    Args:
        x: (n, *shape).
        rows: Row numbers.
        per_feature: For each position of `shape`, else over all of them.

    A spread below float32's resolution is noise; its variance is given as 1, so that a constant
    feature becomes 0 and stays finite on rows where it differs. One beyond float32's range is given
    as the largest float32.
    """
    axis = 0 if per_feature else None

    def average(function: Any) -> NDArray[np.float64]:
        total: Any = 0.0
        for start in range(0, len(rows), CHUNK):
            chunk = x[rows[start : start + CHUNK]].astype(np.float64)
            total = total + function(chunk).sum(axis=axis)
        count = len(rows) if per_feature else len(rows) * int(np.prod(x.shape[1:]))
        return np.asarray(total / count)

    mean = average(lambda chunk: chunk)
    variance = average(lambda chunk: (chunk - mean) ** 2)
    noise = np.square(np.finfo(np.float32).eps * mean)
    return mean, np.where(variance <= noise, 1.0, np.minimum(variance, np.finfo(np.float32).max))

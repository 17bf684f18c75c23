"""The layers that stand in front of a table's model: raw columns by name → the trained matrix.

They compute what `job.data.table.encode.matrix` computed for training, to rounding; all are Keras's
own and reload in safe mode.
"""

from typing import Any

import numpy as np

from job.data.schema import MISSING_INTEGER, Column, Schema

UNKNOWN_INTEGER = MISSING_INTEGER + 1
UNKNOWN_TEXT = "\0"
"""Placeholders that Keras wants for the slot of unknown values; no data holds them."""


def published(model: Any, schema: Schema) -> Any:
    """A plain Functional model: {input: (rows,) or (rows, 1)} → what the trained model gives.

    Args:
        model: Built `keras.Sequential` on the matrix; its layers are shared.
        schema: The columns.
    """
    import keras

    names = schema.inputs()
    inputs = {
        names[column.name]: keras.Input((1,), name=names[column.name], dtype=column.dtype)
        for column in schema.columns
    }
    parts = _numbers(schema, inputs) if schema.numbers else []
    parts += [_lookup(column)(inputs[names[column.name]]) for column in schema.lookups]
    x = keras.layers.Concatenate(dtype="float32")(parts) if len(parts) > 1 else parts[0]
    for layer in model.layers:
        x = layer(x)
    return keras.Model(inputs, x, name=model.name)


def _numbers(schema: Schema, inputs: dict[str, Any]) -> list[Any]:
    import keras

    names = schema.inputs()
    columns = [inputs[names[column.name]] for column in schema.numbers]
    x = keras.layers.Concatenate(dtype="float32")(columns) if len(columns) > 1 else columns[0]
    missing = keras.ops.isnan(x)
    normalised = keras.layers.Normalization(
        mean=np.array([column.mean for column in schema.numbers], np.float32),
        variance=np.array([column.variance for column in schema.numbers], np.float32),
        dtype="float32",
    )(x)
    parts = [keras.ops.where(missing, 0.0, normalised)]
    told = [i for i, column in enumerate(schema.numbers) if column.has_missing]
    if told:
        indicators = keras.ops.cast(missing, "float32")
        parts.append(keras.ops.take(indicators, told, axis=1))
    return parts


def _lookup(column: Column) -> Any:
    import keras

    text = column.dtype == "string"
    layer = keras.layers.StringLookup if text else keras.layers.IntegerLookup
    return layer(
        vocabulary=list(column.vocabulary),
        mask_token=None,
        oov_token=UNKNOWN_TEXT if text else UNKNOWN_INTEGER,
        output_mode="one_hot",
    )

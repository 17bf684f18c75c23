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

    def own(name: str) -> str:
        """A name that no column has: Keras wants one for all layers, and makes up the same."""
        return own(f"{name}_") if name in inputs else name

    def joined(parts: list[Any], name: str) -> Any:
        layer = keras.layers.Concatenate(dtype="float32", name=own(name))
        return layer(parts) if len(parts) > 1 else parts[0]

    parts = []
    if schema.numbers:
        columns = [inputs[names[column.name]] for column in schema.numbers]
        parts.append(_numbers(schema, own("numbers"))(joined(columns, "number_columns")))
    for i, column in enumerate(schema.lookups):
        parts.append(_lookup(column, own(f"lookup_{i}"))(inputs[names[column.name]]))
    network = keras.Sequential(model.layers, name=own("network"))
    return keras.Model(inputs, network(joined(parts, "matrix")), name=model.name)


def _numbers(schema: Schema, name: str) -> Any:
    """(rows, numbers) → normalised, then the indicators of absence."""
    import keras

    x = keras.Input((len(schema.numbers),))
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
        parts = [keras.layers.Concatenate(dtype="float32")(parts)]
    return keras.Model(x, parts[0], name=name)


def _lookup(column: Column, name: str) -> Any:
    import keras

    text = column.dtype == "string"
    layer = keras.layers.StringLookup if text else keras.layers.IntegerLookup
    return layer(
        vocabulary=list(column.vocabulary),
        mask_token=None,
        oov_token=UNKNOWN_TEXT if text else UNKNOWN_INTEGER,
        output_mode="one_hot",
        name=name,
    )

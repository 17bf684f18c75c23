"""inputs: a table's raw columns → the arrays on the device → features, as Keras layers.

The only encoder: a network is trained on `job.data.dataset.Compact` arrays, which `tensors` takes
and the functions below make features of; `standard` joins those of `mlp`, `tabular.encoded` those
of `tabular`. `published` puts lookups in front of the same network. All layers are Keras's own and
reload in safe mode.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from job.data.schema import EMBEDDED, MISSING_INTEGER, Column, Schema
from job.models.members import expect_room

UNKNOWN_INTEGER = MISSING_INTEGER + 1
UNKNOWN_TEXT = "\0"
"""Placeholders that Keras wants for the slot of unknown values; no data holds them."""

DAY = 86_400

YEAR = 36_525
"""Hundredths of a day."""

WORD_CODES = 2
"""Padding, and words that are not in the vocabulary."""


def tensors(schema: Schema) -> dict[str, Any]:
    """The inputs of a network that is trained on a table, by the names in `Compact`."""
    import keras

    inputs = {}
    if schema.numbers:
        inputs["numbers"] = keras.Input((len(schema.numbers),), dtype="float32", name="numbers")
    if schema.lookups:
        inputs["codes"] = keras.Input((len(schema.lookups),), dtype="int32", name="codes")
    if schema.times:
        inputs["times"] = keras.Input((len(schema.times),), dtype="int64", name="times")
    if schema.texts:
        tokens = sum(column.words for column in schema.texts)
        inputs["words"] = keras.Input((tokens,), dtype="int32", name="words")
    return inputs


def standard(schema: Schema, rows: Mapping[str, Any], members: int = 1) -> Any:
    """(rows, n) float32: numbers, what is missing, one-hot codes, parts of dates, means of words.

    Args:
        schema: The columns.
        rows: As `tensors` gives them.
        members: Of the network; several of them have words' vectors of their own, and features of
            shape (rows, members, n).
    """
    import keras

    parts = []
    if schema.numbers:
        missing = keras.ops.isnan(rows["numbers"])
        normalised = keras.layers.Normalization(
            mean=np.array([column.mean for column in schema.numbers], np.float32),
            variance=np.array([column.variance for column in schema.numbers], np.float32),
            dtype="float32",
        )(rows["numbers"])
        parts += [keras.ops.where(missing, 0.0, normalised), *indicators(schema, missing)]
    for i, column in enumerate(schema.lookups):
        parts.append(one_hot(rows["codes"], i, column))
    for i, column in enumerate(schema.times):
        parts += calendar(rows["times"], i, column)
    if members == 1:
        return joined([*parts, *(bag[:, 0] for bag in bags(schema, rows))])
    return joined(parts, bags(schema, rows, members))


def indicators(schema: Schema, missing: Any) -> tuple[Any, ...]:
    """(rows, k) float32: whether a number is missing, for the columns that lacked some."""
    import keras

    lacking = [i for i, column in enumerate(schema.numbers) if column.has_missing]
    if not lacking:
        return ()
    return (keras.ops.take(keras.ops.cast(missing, "float32"), lacking, axis=1),)


def one_hot(codes: Any, i: int, column: Column) -> Any:
    """(rows, 1 + vocabulary) float32 of the i-th column of codes."""
    import keras

    return keras.ops.one_hot(keras.ops.take(codes, i, axis=1), slots(column), dtype="float32")


def calendar(times: Any, i: int, column: Column) -> list[Any]:
    """(rows, 1) float32 each: what the i-th column of times says of the calendar.

    Days since 1970 are normalised; the place in the year, the week and the day is a sine and a
    cosine. Remainders are taken in int64, since float32 has no seconds as late as today. A missing
    time is 0 in all of them, and 1 in a part of its own where training lacked some.
    """
    import keras

    ops = keras.ops
    seconds = ops.take(times, [i], axis=1)
    missing = ops.equal(seconds, MISSING_INTEGER)
    seconds = ops.where(missing, ops.zeros_like(seconds), seconds)
    days = ops.floor_divide(seconds, DAY)
    wheels = {"year": (days * 100, YEAR), "week": (days, 7), "day": (seconds, DAY)}
    parts = []
    for feature in column.features:
        if feature == "days":
            centred = ops.cast(days - round(column.mean), "float32")
            parts.append(centred / float(np.sqrt(column.variance)))
        else:
            count, period = wheels[feature]
            turn = ops.cast(ops.mod(count, period), "float32") * (2 * np.pi / period)
            parts += [ops.sin(turn), ops.cos(turn)]
    parts = [ops.where(missing, 0.0, part) for part in parts]
    return [*parts, ops.cast(missing, "float32")] if column.has_missing else parts


def bags(schema: Schema, rows: Mapping[str, Any], members: int = 1) -> list[Any]:
    """(rows, members, EMBEDDED) float32 for each text: the mean of its tokens' trained vectors."""
    import keras

    ops, parts, at = keras.ops, [], 0
    for column in schema.texts:
        codes = rows["words"][:, at : at + column.words]
        at += column.words
        there = ops.cast(ops.not_equal(codes, 0), "float32")
        each = vectors(codes, members, len(column.categories) + WORD_CODES, EMBEDDED)
        total = ops.einsum("bt,bmtd->bmd", there, each)
        count = ops.sum(there, axis=1)[:, None, None]
        parts.append(total / ops.maximum(count, 1.0))
    return parts


def vectors(codes: Any, members: int, count: int, size: int, spread: float | None = None) -> Any:
    """(rows, n) codes → (rows, members, n, size) float32, which each member trains by itself.

    Args:
        codes: From 0 to below `count`.
        members: How many there are.
        count: Of the codes.
        size: Of a vector.
        spread: Standard deviation of the initial vectors; None for Keras's own.

    Raises:
        DeviceOutOfMemory: As `expect_room`.
    """
    import keras

    expect_room(members, (count, size))
    start = "uniform" if spread is None else keras.initializers.RandomNormal(stddev=spread)
    layer = keras.layers.Embedding(
        members * count, size, embeddings_initializer=start, dtype="float32"
    )
    first = np.arange(members, dtype=np.int32)[None, :, None] * count
    return layer(keras.ops.expand_dims(codes, 1) + first)


def slots(column: Column) -> int:
    """The number of codes of a column: one for unknown values, and its vocabulary."""
    return 1 + len(column.vocabulary)


def joined(parts: list[Any], own: list[Any] | None = None) -> Any:
    """(rows, sum of the widths) float32; with parts of each member, (rows, members, widths)."""
    import keras

    if own:
        members = own[0].shape[1]
        parts = [keras.ops.repeat(part[:, None], members, axis=1) for part in parts] + own
    return keras.layers.Concatenate(dtype="float32")(parts) if len(parts) > 1 else parts[0]


def published(network: Any, schema: Schema) -> Any:
    """A plain Functional model: {input: (rows,) or (rows, 1)} → what the network gives.

    Args:
        network: Built on the inputs of `tensors`; it is a part of the published model.
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

    rows = {}
    if schema.numbers:
        numbers = [inputs[names[column.name]] for column in schema.numbers]
        rows["numbers"] = _stack("float32", [1] * len(numbers), own("number_columns"))(numbers)
    if schema.lookups:
        codes = [
            _lookup(column, own(f"lookup_{i}"))(inputs[names[column.name]])
            for i, column in enumerate(schema.lookups)
        ]
        rows["codes"] = _stack("int32", [1] * len(codes), own("code_columns"))(codes)
    if schema.times:
        times = [inputs[names[column.name]] for column in schema.times]
        rows["times"] = _stack("int64", [1] * len(times), own("time_columns"))(times)
    if schema.texts:
        words = [
            _words(column, own(f"words_{i}"))(inputs[names[column.name]])
            for i, column in enumerate(schema.texts)
        ]
        widths = [column.words for column in schema.texts]
        rows["words"] = _stack("int32", widths, own("word_columns"))(words)
    inner = keras.Model(network.inputs, network.outputs[0], name=own("network"))
    return keras.Model(
        inputs, inner([rows[tensor.name] for tensor in network.inputs]), name=network.name
    )


def _stack(dtype: str, widths: list[int], name: str) -> Any:
    """(rows, width) each → side by side, in a model of its own: no operation takes a column's name.

    Args:
        dtype: Of the result.
        widths: Of the parts.
        name: Of the model.
    """
    import keras

    given = "float32" if dtype == "float32" else "int64"
    columns = [keras.Input((width,), dtype=given) for width in widths]
    side_by_side = keras.ops.concatenate(columns, axis=1)
    return keras.Model(columns, keras.ops.cast(side_by_side, dtype), name=name)


def _words(column: Column, name: str) -> Any:
    """(rows, 1) text → (rows, words) tokens as `job.data.table.words.codes` gives them.

    Its small letters are those of ASCII.
    """
    import keras

    return keras.layers.TextVectorization(
        vocabulary=list(column.categories),
        ngrams=2,
        output_mode="int",
        output_sequence_length=column.words,
        name=name,
    )


def _lookup(column: Column, name: str) -> Any:
    """(rows, 1) raw values → (rows, 1) codes as `job.data.table.encode.lookup` gives them."""
    import keras

    text = column.dtype == "string"
    layer = keras.layers.StringLookup if text else keras.layers.IntegerLookup
    return layer(
        vocabulary=list(column.vocabulary),
        mask_token=None,
        oov_token=UNKNOWN_TEXT if text else UNKNOWN_INTEGER,
        output_mode="int",
        name=name,
    )

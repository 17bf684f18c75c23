"""write(...): the files that are published of a model."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.data.dataset import Classes
from job.data.schema import Schema
from job.evaluation.threshold import Threshold
from job.models.inputs import published


def write(
    model: Any,
    folder: Path,
    schema: Schema | None = None,
    *,
    classes: Classes = (),
    threshold: Threshold | None = None,
) -> None:
    """Writes `model.keras`, `saved_model/` and `labels.txt`; the models take raw rows.

    Args:
        model: Built `keras.Sequential` with one input, or a Functional model.
        folder: An existing folder.
        schema: The columns, when the data is a table.
        classes: The labels, in the order of the outputs; without them, nothing names the outputs.
        threshold: How one of two classes is decided for; by default the most probable one.

    `model.keras` is a plain model that shares the trained layers, without optimizer: a Sequential,
    or for a table a Functional one that takes its columns by name. `saved_model/` has one
    signature, `serving_default`: `rows` (any number, *shape) in the dtype of the data, or each
    column (any number,) by `Schema.identifiers` → `probabilities` (rows, classes), float32, and
    `classes` (rows,), the label decided for, string or int64.
    `labels.txt`, also as an asset of the SavedModel, has one label a line, in their order.
    """
    plain = published(model, schema) if schema else _sequential(model)
    unfinished = folder / ".unfinished.keras"  # Keras writes straight to its destination
    plain.save(unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(folder / "model.keras")
    _write_saved_model(plain, folder / "saved_model", schema, classes, threshold)
    if classes:
        lines = "".join(" ".join(str(label).splitlines()) + "\n" for label in classes)
        extra = folder / "saved_model" / "assets.extra"
        extra.mkdir()
        for path in (folder / "labels.txt", extra / "labels.txt"):
            path.write_text(lines, encoding="utf-8", errors="replace")


def _sequential(model: Any) -> Any:
    import keras

    if not isinstance(model, keras.Sequential):  # an average of members
        return model
    plain = keras.Sequential(
        [keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype, name="rows")],
        name=model.name,
    )
    for layer in model.layers:
        plain.add(layer)
    return plain


def _write_saved_model(
    model: Any,
    folder: Path,
    schema: Schema | None,
    classes: Classes,
    threshold: Threshold | None,
) -> None:
    import tensorflow as tf

    outputs = labels_of(classes)
    positive = classes.index(threshold.label) if threshold else 0

    def answers(probabilities: Any) -> dict[str, Any]:
        if not outputs:
            return {"probabilities": probabilities}
        best = tf.argmax(probabilities, axis=-1)
        if threshold:
            above = probabilities[:, positive] >= tf.constant(threshold.value, tf.float32)
            best = tf.where(above, positive, 1 - positive)
        labels = tf.constant(outputs, tf.int64 if isinstance(outputs[0], int) else tf.string)
        return {"probabilities": probabilities, "classes": tf.gather(labels, best)}

    if schema:
        names, inputs = schema.identifiers(), schema.inputs()
        specs = {
            names[column.name]: tf.TensorSpec((None,), column.dtype, name=names[column.name])
            for column in schema.columns
        }

        def answered(**columns: Any) -> dict[str, Any]:
            rows = {inputs[name]: tf.expand_dims(columns[names[name]], 1) for name in names}
            return answers(model(rows, training=False))
    else:
        specs = {"rows": tf.TensorSpec(model.input_shape, model.inputs[0].dtype, name="rows")}

        def answered(**columns: Any) -> dict[str, Any]:
            return answers(model(columns["rows"], training=False))

    serve = tf.function(answered, autograph=False)
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    # That of free text lies in a layer within its layer.
    lookups = [getattr(each, "_lookup_layer", each) for each in model.layers]
    module.tables = [each.lookup_table for each in lookups if hasattr(each, "lookup_table")]
    module.serve = serve
    signature = serve.get_concrete_function(**specs)
    try:
        with _own_temporary_files():
            tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    except tf.errors.OpError as exc:
        if os.strerror(errno.ENOSPC) in str(exc):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from exc
        raise


def labels_of(classes: Classes) -> list[int | bytes]:
    """The labels as the SavedModel answers with them."""
    return [
        label if isinstance(label, int) else label.encode(errors="replace") for label in classes
    ]


@contextlib.contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Takes away what AutoGraph writes below TMPDIR and removes at an orderly exit only."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="mlp-job-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before

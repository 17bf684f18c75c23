"""The files that are published of a model, and proof in a fresh process that they reload."""

import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.data.schema import Schema
from job.evaluation.threshold import Threshold, decide
from job.models.inputs import published

TOLERANCE = 1e-4
"""Largest difference of a probability: float32, summed in another order."""

LOW_PRECISION_TOLERANCE = 2e-2
"""The same for a model with half-precision layers or trained on a GPU, whose TF32 products keep
11 bits; the fresh process computes on the CPU."""

CHECKED_ROWS = 1000
"""Test rows on which the published files are compared with the trained model."""

RELOAD_SECONDS = 300.0
"""Patience with the fresh process; it needs a few seconds."""

RELOAD = """
import json, sys
import keras
import numpy as np
import tensorflow as tf

line = sys.stdin.readline()
if line:
    job = json.loads(line)
    columns = {name: tf.constant(rows) for name, rows in np.load(job["rows"]).items()}
    by_name = {job["names"].get(name, name): rows for name, rows in columns.items()}
    model = keras.saving.load_model(job["keras"], safe_mode=True)
    given = by_name if job["names"] else columns["rows"]
    np.save(job["from_keras"], model.predict_on_batch(given))
    served = tf.saved_model.load(job["saved_model"]).signatures["serving_default"]
    answers = served(**columns)
    np.save(job["from_saved_model"], answers["probabilities"].numpy())
    if "classes" in answers:
        labels = answers["classes"].numpy()
        np.save(job["classes"], labels.astype("S") if labels.dtype == object else labels)
"""
"""What a user would write: nothing of this package."""


class ExportMismatch(Exception):
    """A published file does not reload to the trained model: a bug, here or in a library."""


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


def tolerance(model: Any) -> float:
    """Largest difference of a probability that rounding explains, on the device in use."""
    import tensorflow as tf

    halves = any(layer.compute_dtype != "float32" for layer in model.layers)
    on_gpu = bool(tf.config.get_visible_devices("GPU"))
    return LOW_PRECISION_TOLERANCE if halves or on_gpu else TOLERANCE


def _write_saved_model(
    model: Any,
    folder: Path,
    schema: Schema | None,
    classes: Classes,
    threshold: Threshold | None,
) -> None:
    import tensorflow as tf

    outputs = _outputs(classes)
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


def _outputs(classes: Classes) -> list[int | bytes]:
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


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Text as bytes of UTF-8, which need no pickle."""
    if column.dtype != object:
        return column
    return np.array([text.encode() for text in column], dtype=np.bytes_)


class Check:
    """A fresh process that reloads both files; leave the `with` block and it is gone.

    It imports its libraries from the start, reloads after `submit`, and is heard in `result`.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="mlp-job-check-")
        self._folder = Path(self._scratch.name)
        self._chatter = (self._folder / "stderr").open("wb")
        environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-P", "-c", RELOAD],
            stdin=subprocess.PIPE,
            bufsize=0,
            stdout=self._chatter,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._chatter.close()
        self._scratch.cleanup()

    def submit(
        self,
        folder: Path,
        rows: NDArray[Any] | Mapping[str, NDArray[Any]],
        schema: Schema | None = None,
    ) -> None:
        """Hands over what `write` wrote.

        Args:
            folder: With `model.keras` and `saved_model/`.
            rows: (n, *shape), a sample in the dtype of the data; of a table, its columns by name.
            schema: The columns, when the data is a table.
        """
        names = schema.identifiers() if schema else {}
        by_name = rows if isinstance(rows, Mapping) else {"rows": rows}
        columns = {names.get(name, name): _plain(column) for name, column in by_name.items()}
        with zipfile.ZipFile(self._folder / "rows.npz", "w") as archive:
            for name, column in columns.items():  # numpy.savez takes no column named "file"
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, column, allow_pickle=False)
        job = {
            "rows": str(self._folder / "rows.npz"),
            "names": {names[name]: given for name, given in schema.inputs().items()}
            if schema
            else {},
            "keras": str(folder.absolute() / "model.keras"),
            "saved_model": str(folder.absolute() / "saved_model"),
            "from_keras": str(self._folder / "model.keras.npy"),
            "from_saved_model": str(self._folder / "saved_model.npy"),
            "classes": str(self._folder / "classes.npy"),
        }
        line = json.dumps(job).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):  # it has ended; `result` says how
            cast(IO[bytes], self._process.stdin).write(line)

    def result(
        self,
        probabilities: NDArray[np.float32],
        tolerance: float,
        *,
        classes: Classes = (),
        threshold: Threshold | None = None,
    ) -> None:
        """Waits for the process and compares its predictions with the trained model's.

        Args:
            probabilities: (n, classes), of the submitted rows.
            tolerance: See `tolerance`.
            classes: As `write` got them; without them, no label is compared.
            threshold: As `write` got it.

        Raises:
            ExportMismatch: A file does not reload, or predicts something else.
        """
        try:
            code = self._process.wait(RELOAD_SECONDS)
        except subprocess.TimeoutExpired as exc:
            raise ExportMismatch(
                f"Expected the published files to reload in {RELOAD_SECONDS:.0f} s. "
                "Received: nothing."
            ) from exc
        if code != 0:
            chatter = (self._folder / "stderr").read_text(errors="replace")
            raise ExportMismatch(
                "Expected the published files to reload in a fresh process. "
                f"Received: exit code {code}, {chatter.strip()[-2000:]}"
            )
        for name in ("model.keras", "saved_model"):
            difference = np.abs(np.load(self._folder / f"{name}.npy") - probabilities).max()
            if not difference <= tolerance:
                raise ExportMismatch(
                    f"Expected {name} to predict as the trained model does, within {tolerance}. "
                    f"Received: a difference of {difference}."
                )
        if classes:  # the labels must be those of its own probabilities, to the last row
            expected = decide(np.load(self._folder / "saved_model.npy"), classes, threshold)
            labels = _outputs(classes)
            received = np.load(self._folder / "classes.npy").tolist()
            wrong = [i for i, k in enumerate(expected) if received[i] != labels[k]]
            if wrong:
                raise ExportMismatch(
                    "Expected saved_model to answer with the label of its probabilities. Received: "
                    f"{received[wrong[0]]!r} for {labels[expected[wrong[0]]]!r} in row {wrong[0]}, "
                    f"and {len(wrong) - 1} more."
                )

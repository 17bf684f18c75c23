"""Check: proof in a process without the trained model that the exported files reload."""

import contextlib
import io
import multiprocessing
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from job import device
from job.data.dataset import Classes
from job.data.schema import Schema
from job.evaluation.threshold import Threshold, decide
from job.export import reload
from job.export.export import labels_of

TOLERANCE = 1e-4
"""Largest difference of a probability: float32, summed in another order."""

LOW_PRECISION_TOLERANCE = 2e-2
"""The same for a model with half-precision layers or trained on a GPU, whose TF32 products keep
11 bits; the fresh process computes on the CPU."""

CHECKED_ROWS = 1000
"""Test rows on which the published files are compared with the trained model."""

RELOAD_SECONDS = 300.0
"""Patience with a fresh process; it needs a few seconds."""

FORK_SECONDS = 60.0
"""The same with a fork, which may inherit a lock that nobody opens; a fresh process follows it."""


class ExportMismatch(Exception):
    """A published file does not reload to the trained model: a bug, here or in a library."""


def tolerance(model: Any) -> float:
    """Largest difference of a probability that rounding explains, on the device in use."""
    import tensorflow as tf

    halves = any(layer.compute_dtype != "float32" for layer in model.layers)
    on_gpu = bool(tf.config.get_visible_devices("GPU"))
    return LOW_PRECISION_TOLERANCE if halves or on_gpu else TOLERANCE


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """Text as bytes of UTF-8, which need no pickle."""
    if column.dtype != object:
        return column
    return np.array([text.encode() for text in column], dtype=np.bytes_)


class Check:
    """A process that reloads both files; leave the `with` block and it is gone.

    It is started by `start`, or else by `submit`; it reloads after `submit`, and `result` waits.
    """

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="mlp-job-check-")
        self._folder = Path(self._scratch.name)
        self._chatter = self._folder / "chatter"
        self._chatter.touch()  # a process may end before it says anything
        self._process: Any = None
        self._forked = False
        self._request: Mapping[str, Any] = {}

    def start(self, fork: bool) -> None:
        """Starts the process.

        Args:
            fork: Whether it may be a fork, which need not import TensorFlow again: TensorFlow was
                imported, and nothing was made with it yet. Where there may be a GPU, whose driver
                does not survive a fork, it is a fresh process in any case.
        """
        self._forked = fork and sys.platform == "linux" and not device.may_have_gpu()
        context: Any = multiprocessing.get_context("fork" if self._forked else "spawn")
        reader, self._requests = context.Pipe(duplex=False)
        others = (self._requests,) if self._forked else ()  # inherited, and not to be kept open
        self._process = context.Process(
            target=reload.serve, args=(reader, str(self._chatter), others)
        )
        # A fork begins with a flush, which fails where nobody reads the log.
        nowhere = io.StringIO()
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            self._process.start()
        reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process:
            self._end()
        self._scratch.cleanup()

    def _end(self) -> None:
        self._process.kill()
        self._process.join()
        self._requests.close()

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
        self._request = {
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
        if self._process is None:
            self.start(fork=False)
        self._send()

    def _send(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended; `result` says how
            self._requests.send(self._request)

    def result(
        self,
        probabilities: NDArray[np.float32],
        tolerance: float,
        *,
        classes: Classes = (),
        threshold: Threshold | None = None,
    ) -> None:
        """Waits for the process and compares its predictions with the trained model's.

        A fork that does not answer proves nothing: a fresh process is asked the same.

        Args:
            probabilities: (n, classes), of the submitted rows.
            tolerance: See `tolerance`.
            classes: As `write` got them; without them, no label is compared.
            threshold: As `write` got it.

        Raises:
            ExportMismatch: A file does not reload, or predicts something else.
        """
        self._process.join(FORK_SECONDS if self._forked else RELOAD_SECONDS)
        if self._forked and self._process.exitcode != 0:
            self._end()
            self.start(fork=False)
            self._send()
            self._process.join(RELOAD_SECONDS)
        code = self._process.exitcode
        if code is None:
            raise ExportMismatch(
                f"Expected the published files to reload in {RELOAD_SECONDS:.0f} s. "
                "Received: nothing."
            )
        if code != 0:
            chatter = self._chatter.read_text(errors="replace")
            raise ExportMismatch(
                "Expected the published files to reload in a process of their own. "
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
            labels = labels_of(classes)
            received = np.load(self._folder / "classes.npy").tolist()
            wrong = [i for i, k in enumerate(expected) if received[i] != labels[k]]
            if wrong:
                raise ExportMismatch(
                    "Expected saved_model to answer with the label of its probabilities. Received: "
                    f"{received[wrong[0]]!r} for {labels[expected[wrong[0]]]!r} in row {wrong[0]}, "
                    f"and {len(wrong) - 1} more."
                )

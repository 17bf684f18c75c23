"""A live progress bar on a terminal: loss, accuracy and the time left."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from job.process import log

Advance = Callable[[float, Mapping[str, float]], None]


@contextlib.contextmanager
def bar(epochs: int) -> Iterator[Advance]:
    """Shows a bar while the block runs, where a person watches; elsewhere nothing.

    Args:
        epochs: The length of the bar.

    Yields:
        A function of the epochs done so far (3.5 is half of the fourth) and the latest metrics.
    """
    console = log.terminal()
    if console is None:
        yield lambda _done, _metrics: None
        return
    from rich import progress

    columns = (
        progress.TextColumn("Training"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:.1f}/{task.total} epochs"),
        progress.TextColumn("{task.fields[metrics]}"),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("", total=epochs, metrics="compiling")

        def advance(done: float, metrics: Mapping[str, float]) -> None:
            words = "  ".join(
                f"{name} {metrics[name]:.4f}" for name in ("loss", "accuracy") if name in metrics
            )
            shown.update(task, completed=done, metrics=words)

        yield advance


def callback(advance: Advance) -> Any:
    """A Keras callback that moves the bar."""
    import keras

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        _epoch = 0

        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002
            self._epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
            advance(self._epoch + (batch + 1) / self.params["steps"], logs or {})

    return Watch()

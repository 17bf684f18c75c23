"""A live progress bar on a terminal: loss, accuracy and the time left."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from job import log

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

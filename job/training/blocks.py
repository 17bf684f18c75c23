"""Many steps in one call: a loop over mini-batches that runs on the device."""

import time
from collections.abc import Callable
from typing import Any

from job.training import devices
from job.training.feeds import Feed, Window

BLOCK_SECONDS = 0.5
"""What a call should last: long against its own cost, short against a signal's patience."""

GROWTH = 8
"""How much longer than the last a block may be: the first steps are slower than they will be."""


class Loop:
    """What Keras calls as `train_function` or `test_function`: one call runs a pass over the rows.

    A pass is a few blocks, each one call of the same compiled program with its first and last
    step as tensors. The block size follows the clock and has no influence on the bits. The last,
    short batch is computed as it is.

    Args:
        model: Compiled and built.
        step: The model's `train_step` or `test_step`, looped over.
        feed: Where the rows of each step come from.
        xla: Compile the program with XLA.
        between: Called between two blocks with the steps done so far and the metrics.
        change: (x, draws) → the x of a batch, where the feed draws numbers; else None.
        peers: Hosts that train along; all run the same blocks, by the clock of one.

    Attributes:
        steps: Steps of a pass.
        passes: Finished passes; set it, and `first_step`, to go on in the middle of one.
    """

    def __init__(
        self,
        model: Any,
        step: Callable[[Any], object],
        feed: Feed,
        *,
        xla: bool,
        between: Callable[[int, dict[str, Any]], None],
        change: Callable[[Any, Any], Any] | None = None,
        peers: devices.Peers = devices.ALONE,
    ):
        self.steps = feed.steps
        self.passes = 0
        self.first_step = 0
        self._feed = feed
        self._between = between
        self._peers = peers
        self._block = 1  # the first blocks measure
        self._strategy = model.distribute_strategy
        self._placed: tuple[Any, Any] = None, None
        self._program = _program(model, step, xla, change)

    def trace(self) -> None:
        """Turns Python into a graph."""
        self._program.get_concrete_function(*self._no_step())

    def compile(self) -> None:
        """Compiles the graph by running no step of it."""
        self._program(*self._no_step())

    def __call__(self, _iterator: object = None) -> dict[str, Any]:
        """Runs a pass, or the rest of one; of Keras's iterator nothing is taken."""
        window = self._window()
        step, self.first_step = self.first_step, 0
        while True:
            if step == window.first_step + window.steps < self.steps:
                window = self._feed.window(self.passes, step)
            block = self._peers.agree(self._block)
            stop = min(window.first_step + window.steps, step + block)
            begin = time.perf_counter()
            logs = self._run(window, step, stop)
            seconds = time.perf_counter() - begin
            if stop - step == block:  # one that was cut short tells little
                fitting = int(block * BLOCK_SECONDS / seconds)
                self._block = max(1, min(fitting, GROWTH * block))
            if stop == self.steps:
                self.passes += 1
                return logs
            self._between(stop, logs)
            step = stop

    def _window(self) -> Window:
        """The window to begin with; of a pass that only has to be validated, its last one."""
        return self._feed.window(self.passes, min(self.first_step, self.steps - 1))

    def _run(self, window: Window, start: int, stop: int) -> dict[str, Any]:
        first = window.first_step
        full = window.steps
        ends = False
        if first + full == self.steps and window.ragged:
            full, ends = full - 1, start < stop == self.steps
        bounds = map(_scalar, (start - first, min(stop - first, full)))
        logs = self._program(*self._on_devices(window), *bounds, _flag(ends))
        return {name: _number(value) for name, value in logs.items()}

    def _no_step(self) -> tuple[Any, ...]:
        return *self._on_devices(self._window()), _scalar(0), _scalar(0), _flag(False)

    def _on_devices(self, window: Window) -> tuple[Any, Any, Any, Any]:
        """What the program takes, with the rows on each device."""
        rows = window.x, window.y
        if self._strategy.num_replicas_in_sync > 1:
            if self._placed[0] is not window.x:
                self._placed = None, None  # frees the last one
                self._placed = window.x, devices.placed(self._strategy, rows)
            rows = self._placed[1]
        return *rows, window.grid, window.rest


def _program(
    model: Any, step: Callable[[Any], object], xla: bool, change: Callable[[Any, Any], Any] | None
) -> Any:
    """(x, y, grid, rest, start, stop, ends) → metrics, after steps of a window.

    Those are the full batches from start to before stop, and with `ends` the short one.
    """
    import tensorflow as tf

    def on_device(x: Any, y: Any, rows: Any) -> None:
        part = devices.part(int(tf.nest.flatten(rows)[0].shape[0]))
        rows = devices.taken(part, rows)
        if change is not None:
            rows, draws = rows
        x, y = tf.nest.map_structure(lambda table: tf.gather(table, rows), (x, y))
        with devices.computing(part, model):
            step(((x if change is None else change(x, draws)), y))

    def run(x: Any, y: Any, rows: Any) -> None:
        model.distribute_strategy.run(on_device, args=(x, y, rows))

    def program(
        x: Any, y: Any, grid: Any, rest: Any, start: Any, stop: Any, ends: Any
    ) -> dict[str, Any]:
        def body(i: Any) -> Any:
            run(x, y, tf.nest.map_structure(lambda each: each[i], grid))
            return i + 1

        if _length(grid):
            tf.while_loop(lambda i: i < stop, body, (start,))
        if _length(rest):

            def last() -> Any:
                run(x, y, rest)
                return True

            tf.cond(ends, last, lambda: False)
        return dict(model.get_metrics_result())

    return tf.function(program, jit_compile=xla, autograph=False)


def _length(batches: Any) -> int:
    """Batches of a grid, or rows of the short one; with what was drawn for them or without."""
    return int((batches[0] if isinstance(batches, tuple) else batches).shape[0])


def _number(value: Any) -> Any:
    """A float, or the array of what each member has."""
    return value.numpy() if value.shape.rank else float(value)


def _scalar(value: int) -> Any:
    import tensorflow as tf

    return tf.constant(value, tf.int32)


def _flag(value: bool) -> Any:
    import tensorflow as tf

    return tf.constant(value)

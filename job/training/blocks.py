"""Many steps in one call: a loop over mini-batches that runs on the device."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data import memory
from job.training.augment import Augmentation

BLOCK_SECONDS = 0.5
"""What a call should last: long against its own cost, short against a signal's patience."""

GROWTH = 8
"""How much longer than the last a block may be: the first steps are slower than they will be."""


class Table:
    """Rows and labels, moved to the device once; pixels stay uint8.

    Args:
        x: (n, *shape), uint8 or float32; or several such arrays by name.
        y: (n,), int32; or a tuple of such arrays.
    """

    def __init__(self, x: Any, y: Any):
        import tensorflow as tf

        self.x = tf.nest.map_structure(_on_device, dict(x) if isinstance(x, Mapping) else x)
        self.y = tf.nest.map_structure(_on_device, y)


class Loop:
    """What Keras calls as `train_function` or `test_function`: one call runs a pass over the rows.

    A pass is a few blocks, each one call of the same compiled program with its first and last
    step as tensors. The block size follows the clock and has no influence on the bits. The last,
    short batch is computed as it is.

    Args:
        model: Compiled and built.
        step: The model's `train_step` or `test_step`, looped over.
        table: The rows.
        order: pass (from 0) → (rows,) row numbers of `table`, always as many.
        rows: Rows of a pass.
        batch_size: Rows of a step.
        xla: Compile the program with XLA.
        between: Called between two blocks with the steps done so far and the metrics.
        augmentation: Changes the x of each batch; None to take rows as they are.

    Attributes:
        steps: Steps of a pass.
        passes: Finished passes; set it, and `first_step`, to go on in the middle of one.
    """

    def __init__(
        self,
        model: Any,
        step: Callable[[Any], object],
        table: Table,
        *,
        order: Callable[[int], NDArray[np.int64]],
        rows: int,
        batch_size: int,
        xla: bool,
        between: Callable[[int, dict[str, Any]], None],
        augmentation: Augmentation | None = None,
    ):
        self.steps = -(-rows // batch_size)
        self.passes = 0
        self.first_step = 0
        self._table = table
        self._order = order
        self._between = between
        self._batch_size = batch_size
        self._block = 1  # the first blocks measure
        self._augmentation = augmentation
        change = augmentation.change if augmentation else None
        self._program = _program(model, step, rows // batch_size, self.steps, xla, change)

    def trace(self) -> None:
        """Turns Python into a graph."""
        self._program.get_concrete_function(*self._no_step())

    def compile(self) -> None:
        """Compiles the graph by running no step of it."""
        self._program(*self._no_step())

    def __call__(self, _iterator: object = None) -> dict[str, Any]:
        """Runs a pass, or the rest of one; of Keras's iterator nothing is taken."""
        rows = self._split()
        step, self.first_step = self.first_step, 0
        while True:
            stop = min(self.steps, step + self._block)
            begin = time.perf_counter()
            logs = self._program(self._table.x, self._table.y, *rows, _scalar(step), _scalar(stop))
            logs = {name: _number(value) for name, value in logs.items()}
            seconds = time.perf_counter() - begin
            if stop - step == self._block:  # one that was cut short tells little
                fitting = int(self._block * BLOCK_SECONDS / seconds)
                self._block = max(1, min(fitting, GROWTH * self._block))
            if stop == self.steps:
                self.passes += 1
                return logs
            self._between(stop, logs)
            step = stop

    def _no_step(self) -> tuple[Any, ...]:
        return self._table.x, self._table.y, *self._split(), _scalar(0), _scalar(0)

    def _split(self) -> tuple[Any, Any]:
        """The order of this pass as (full batches, batch_size) and the short batch's rows.

        With an augmentation each of both is a tuple: the rows, and the numbers drawn for them.
        """
        import tensorflow as tf

        each: Any = self._order(self.passes).astype(np.int32)
        full = len(each) // self._batch_size * self._batch_size
        if self._augmentation:
            each = (each, self._augmentation.draw(self.passes, len(each)))

        def batches(values: NDArray[Any]) -> Any:
            return tf.constant(values[:full].reshape(-1, self._batch_size, *values.shape[1:]))

        grid = tf.nest.map_structure(batches, each)
        return grid, tf.nest.map_structure(lambda values: tf.constant(values[full:]), each)


def _program(
    model: Any,
    step: Callable[[Any], object],
    full: int,
    steps: int,
    xla: bool,
    change: Callable[[Any, Any], Any] | None,
) -> Any:
    """(x, y, grid, rest, start, stop) → metrics, after the steps from start to before stop."""
    import tensorflow as tf

    def run(x: Any, y: Any, rows: Any) -> None:
        if change is not None:
            rows, draws = rows
        x, y = tf.nest.map_structure(lambda table: tf.gather(table, rows), (x, y))
        batch = (x if change is None else change(x, draws)), y
        model.distribute_strategy.run(step, args=(batch,))

    def program(x: Any, y: Any, grid: Any, rest: Any, start: Any, stop: Any) -> dict[str, Any]:
        def body(i: Any) -> Any:
            run(x, y, tf.nest.map_structure(lambda each: each[i], grid))
            return i + 1

        if full:
            tf.while_loop(lambda i: i < tf.minimum(stop, full), body, (start,))
        if full < steps:

            def last() -> Any:
                run(x, y, rest)
                return True

            tf.cond(tf.logical_and(start < stop, stop == steps), last, lambda: False)
        return dict(model.get_metrics_result())

    return tf.function(program, jit_compile=xla, autograph=False)


def _number(value: Any) -> Any:
    """A float, or the array of what each member has."""
    return value.numpy() if value.shape.rank else float(value)


def _scalar(value: int) -> Any:
    import tensorflow as tf

    return tf.constant(value, tf.int32)


def _on_device(array: NDArray[Any]) -> Any:
    """A tensor of the array; on the CPU without the second copy that `tf.constant` makes."""
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return tf.constant(array)
    shared = array.flags.c_contiguous and array.flags.writeable  # DLPack knows no read-only
    if not shared or array.ctypes.data % memory.ALIGNMENT:
        source, array = array, memory.aligned(array.shape, array.dtype)
        array[...] = source
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

"""Feeds: where the rows of each step come from, a table on the device or a stream of windows."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from job.data import memory

WINDOW_BYTES = 32 << 20
"""About what a window of a stream holds; up to three of them are in memory at once."""

Draw = Callable[[int, int], NDArray[Any]]

BLOCKS = 64
"""Blocks of neighbouring rows in a window, at least."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Rows on the device, and the batches of some steps, which gather from them.

    Attributes:
        x: (n, *shape), or several such arrays by name.
        y: (n,), or a tuple of such arrays.
        grid: (k, batch size), int32; the rows of each full batch. A window of a stream may have
            fewer steps than its grid has rows, so that all are of one shape. Where numbers are
            drawn for the rows, a tuple of both.
        rest: (r,), int32; the rows of the pass's last, short batch, if it has one; as `grid`.
        first_step: Of the pass.
        steps: Steps in this window, the short batch's included.
        ragged: Whether passes end with a short batch.
    """

    x: Any
    y: Any
    grid: Any
    rest: Any
    first_step: int
    steps: int
    ragged: bool


class Feed(Protocol):
    """The steps of a pass, and the window that holds one of them."""

    @property
    def steps(self) -> int: ...  # noqa: D102

    def window(self, number: int, step: int) -> Window:
        """The window of a step, from 0, of a pass, from 0."""
        ...


class Table:
    """Rows and labels, moved to the device once; pixels stay uint8.

    Args:
        x: (n, *shape), uint8 or float32; or several such arrays by name.
        y: (n,), int32; or a tuple of such arrays.
    """

    def __init__(self, x: Any, y: Any):
        self.x, self.y = _moved(x), _moved(y)


class Gathered:
    """A feed from a table: a pass is one window.

    Args:
        table: The rows.
        order: Pass (from 0) → (rows,) row numbers of `table`, always as many.
        rows: Rows of a pass.
        batch_size: Rows of a step.
        draw: (pass, rows) → (rows, k), numbers for each row; None to draw none.
    """

    def __init__(
        self,
        table: Table,
        order: Callable[[int], NDArray[np.int64]],
        *,
        rows: int,
        batch_size: int,
        draw: Draw | None = None,
    ):
        self.steps = -(-rows // batch_size)
        self._table, self._order, self._batch_size = table, order, batch_size
        self._draw = draw

    def window(self, number: int, step: int) -> Window:  # noqa: ARG002 - one holds all steps
        """All rows of a pass; `grid` and `rest` are its order."""
        order = self._order(number).astype(np.int32)
        drawn = self._draw(number, len(order)) if self._draw else None
        grid, rest = _batches(order, drawn, self._batch_size)
        return Window(
            x=self._table.x,
            y=self._table.y,
            grid=grid,
            rest=rest,
            first_step=0,
            steps=self.steps,
            ragged=len(order) % self._batch_size > 0,
        )


class Streamed:
    """A feed from arrays that need not fit on the device: windows of shuffled blocks.

    A pass reads blocks of neighbouring rows in an order from (seed, pass), and shuffles the rows
    of each window, several blocks, by (seed, pass, window). A window is a function of these
    numbers alone, so that any of them can be the first. While one is trained on, the next is
    read and moved to the device in a thread.

    Args:
        x: (n, *shape), or several such arrays by name; may be memory-mapped.
        y: (n,), or a tuple of such arrays.
        rows: (rows of a pass,), row numbers of x, ascending.
        batch_size: Rows of a step.
        seed: Of the order; None for the order of `rows`.
        window_bytes: About what a window holds; None for WINDOW_BYTES.
        draw: As of `Gathered`; in place of the pass it gets a number of the pass and the window.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        rows: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int | None,
        window_bytes: int | None = None,
        draw: Draw | None = None,
    ):
        count = len(rows)
        self.steps = -(-count // batch_size)
        self._x, self._y, self._rows, self._seed = x, y, rows, seed
        self._batch_size, self._draw = batch_size, draw
        width = sum(array.nbytes for array in _leaves((x, y))) // len(_leaves(y)[0])
        fitting = max(1, (window_bytes or WINDOW_BYTES) // max(1, width * batch_size))
        self._steps_each = min(self.steps, fitting)
        self._capacity = min(count, self._steps_each * batch_size)
        self._block = max(1, self._capacity // BLOCKS)
        self._reader = ThreadPoolExecutor(1, "feed")
        self._ready: dict[tuple[int, int], Future[Window]] = {}
        self._now: tuple[tuple[int, int], Window] | None = None

    def window(self, number: int, step: int) -> Window:
        """The window of a step; begins to read the one that follows."""
        key = number, step // self._steps_each
        if self._seed is None:  # every pass is the same
            key = 0, key[1]
        if self._now is None or self._now[0] != key:
            found = self._ready.pop(key, None)
            self._now = None  # frees the last one
            self._ready.clear()
            self._now = key, found.result() if found else self._read(*key)
            self._ready = {then: self._reader.submit(self._read, *then) for then in self._next(key)}
        return self._now[1]

    def _next(self, key: tuple[int, int]) -> list[tuple[int, int]]:
        number, at = key
        if (at + 1) * self._steps_each < self.steps:
            return [(number, at + 1)]
        # Validation begins again an epoch later: until then nothing of it is held.
        return [] if self._seed is None else [(number + 1, 0)]

    def _read(self, number: int, at: int) -> Window:
        size, batch = self._steps_each * self._batch_size, self._batch_size
        begin, end = at * size, min((at + 1) * size, len(self._rows))
        spans = self._spans(number, begin, end)
        x, y = _mapped(lambda array: self._gathered(array, spans), (self._x, self._y))
        order = np.arange(end - begin, dtype=np.int32)
        if self._seed is not None:
            np.random.default_rng((self._seed, number, at)).shuffle(order)
        drawn = self._draw((number << 32) + at, len(order)) if self._draw else None
        more = len(self._rows) % batch
        ends = end == len(self._rows)
        grid, rest = _batches(order, drawn, batch, self._capacity // batch, None if ends else more)
        return Window(
            x=_moved(x),
            y=_moved(y),
            grid=grid,
            rest=rest,
            first_step=at * self._steps_each,
            steps=-(-(end - begin) // batch),
            ragged=more > 0,
        )

    def _spans(self, number: int, begin: int, end: int) -> list[tuple[int, int]]:
        """[first, last) positions in `rows` of a window: those from begin to end of the pass."""
        if self._seed is None:
            return [(begin, end)]
        count, block = len(self._rows), self._block
        order = np.random.default_rng((self._seed, number)).permutation(-(-count // block))
        sizes = np.minimum(block, count - order * block)
        ends = np.cumsum(sizes)
        spans = []
        for i in range(int(np.searchsorted(ends, begin, "right")), len(order)):
            start = int(ends[i] - sizes[i])
            if start >= end:
                break
            first = int(order[i]) * block - start
            spans.append((first + max(start, begin), first + min(int(ends[i]), end)))
        return spans

    def _gathered(self, array: NDArray[Any], spans: list[tuple[int, int]]) -> NDArray[Any]:
        """The rows of some spans; all windows of a stream are as long."""
        found = memory.aligned((self._capacity, *array.shape[1:]), array.dtype)
        at = 0
        for first, last in spans:
            rows = self._rows[first:last]
            if rows[-1] - rows[0] == len(rows) - 1:  # neighbours are copied faster
                found[at : at + len(rows)] = array[rows[0] : rows[-1] + 1]
            else:
                found[at : at + len(rows)] = array[rows]
            at += len(rows)
        found[at:] = 0
        return found


def _batches(
    rows: NDArray[np.int32],
    drawn: NDArray[Any] | None,
    size: int,
    full: int | None = None,
    rest: int | None = None,
) -> tuple[Any, Any]:
    """The full batches of some rows, and the rows of the short one, with what was drawn for them.

    Args:
        rows: (n,).
        drawn: (n, k), or None.
        size: Of a batch.
        full: Batches to make it, with zeros behind the rows; by default as many as there are.
        rest: Zeros to give in place of a short batch; None for the rows that are left.
    """
    import tensorflow as tf

    def batches(values: NDArray[Any]) -> tuple[Any, Any]:
        count = len(values) // size
        grid = np.zeros((count if full is None else full, size, *values.shape[1:]), values.dtype)
        grid[:count] = values[: count * size].reshape(count, size, *values.shape[1:])
        left = values[count * size :]
        if rest is not None:
            left = np.zeros((rest, *values.shape[1:]), values.dtype)
        return tf.constant(grid), tf.constant(left)

    if drawn is None:
        return batches(rows)
    (grid, left), (drawn_grid, drawn_left) = batches(rows), batches(drawn)
    return (grid, drawn_grid), (left, drawn_left)


def _moved(arrays: Any) -> Any:
    """Tensors of one array, or of several by name or in a tuple."""
    return _mapped(_on_device, arrays)


def _mapped(function: Callable[[NDArray[Any]], Any], arrays: Any) -> Any:
    if isinstance(arrays, Mapping):
        return {name: _mapped(function, array) for name, array in arrays.items()}
    if isinstance(arrays, tuple):
        return tuple(_mapped(function, array) for array in arrays)
    return function(arrays)


def _leaves(arrays: Any) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = []
    _mapped(found.append, arrays)
    return found


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

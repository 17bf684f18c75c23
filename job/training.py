"""fit(...): Keras's `model.fit` around loops on the device, with early stopping and resume."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.blocks import Loop, Table
from job.config import Config
from job.data.dataset import Dataset
from job.errors import Preempted, TrainingDiverged
from job.state import (
    EpochResult,
    Position,
    State,
    metric_values,
    patience,
    put_back,
    put_back_metrics,
    put_back_patience,
    take,
)

VALIDATION_BATCH = 4096
"""Rows of a validation step, at most."""

PREDICT_BATCH = 4096
"""Rows of a prediction step, at most."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of training; the weights are in the model.

    Attributes:
        history: One entry for each epoch.
        best_epoch: The epoch, from 1, with the lowest validation loss; the last one when no rows
            are held out. With early stopping the model has its weights.
        stopped_early: True when training ended before `epochs`.
        trace_seconds: Turning Python into a graph.
        compile_seconds: Compiling the graph.
        run_seconds: All epochs, with validation.
        rows_per_second: Training rows over the seconds of the epochs after the first.
    """

    history: tuple[EpochResult, ...]
    best_epoch: int
    stopped_early: bool
    trace_seconds: float
    compile_seconds: float
    run_seconds: float
    rows_per_second: float


def fit(
    model: Any,
    dataset: Dataset,
    config: Config,
    *,
    callbacks: Sequence[Any] = (),
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: State | None = None,
    due: Callable[[], bool] = lambda: False,
    save: Callable[[State], None] = lambda _: None,
) -> Fitted:
    """Trains a model that `job.model.build` made, in place.

    Args:
        model: Compiled `keras.Sequential`.
        dataset: Its `fit_rows` are trained on, its `validation_rows` validated on.
        config: epochs, batch_size, patience, seed and xla are read.
        callbacks: Keras callbacks; `on_train_batch_end` is called after each block of steps.
        on_epoch: Hears of each epoch when it has ended.
        should_stop: Asked after each block and each epoch.
        resume: Where to go on; None begins anew.
        due: Asked after each block of training and each epoch: is it time to save?
        save: Gets the state when it is, when `should_stop` says so, and at the end.

    Raises:
        TrainingDiverged: The loss, the validation loss or the weights are not finite.
        Preempted: `should_stop` said so, and the state was saved.
    """
    import keras

    results: list[EpochResult] = list(resume.position.history) if resume else []
    begun = len(results)
    stopper = _early_stopping(config.patience)
    memory = _Memory(model, stopper, results, epochs=config.epochs)
    chain = keras.callbacks.CallbackList(
        [
            _divergence(model),  # first, so that nothing is saved of a run that diverged
            _epochs(results, on_epoch),
            *([stopper] if stopper else ()),
            *callbacks,
            _saving(memory, resume, due, save, should_stop),  # last: it sees what the others did
        ],
        add_history=True,
        model=model,
        epochs=config.epochs,
    )
    table = Table(dataset.train.x, dataset.train.y)
    loops = [_train_loop(model, table, dataset, config, chain)]
    if len(dataset.validation_rows):
        loops.append(_validation_loop(model, table, dataset, config, chain))
    chain.params["steps"] = loops[0].steps
    model.optimizer.build(model.trainable_variables)
    if resume:
        put_back(model, resume)
        loops[0].passes, loops[0].first_step = resume.position.epoch, resume.position.step
    finished = resume is not None and resume.position.finished
    costs = [] if finished else [loop.compile() for loop in loops]

    began = time.perf_counter()
    _keras_fit(model, loops, config, chain, first=config.epochs if finished else begun)
    run_seconds = time.perf_counter() - began
    if not finished:
        save(memory.take(finished=True))
    later = results[begun + 1 :] or results[begun:] or results
    return Fitted(
        history=tuple(results),
        best_epoch=min(results, key=_rank).epoch,
        stopped_early=len(results) < config.epochs,
        trace_seconds=sum(trace for trace, _ in costs),
        compile_seconds=sum(compiling for _, compiling in costs),
        run_seconds=run_seconds,
        rows_per_second=len(dataset.fit_rows)
        * len(later)
        / sum(result.seconds for result in later),
    )


def order(rows: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows in the order of one epoch (from 0): a function of seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def predict(model: Any, x: NDArray[Any]) -> NDArray[np.float32]:
    """Probabilities of raw rows, in memory that does not grow with the model's layers.

    Args:
        model: Takes rows as they are in x.
        x: (rows, *shape), uint8 or float32.

    Returns:
        (rows, classes), float32.
    """
    probabilities = np.empty((len(x), model.output_shape[-1]), np.float32)
    for start in range(0, len(x), PREDICT_BATCH):
        stop = start + PREDICT_BATCH
        probabilities[start:stop] = model.predict_on_batch(x[start:stop])
    return probabilities


def _rank(result: EpochResult) -> float:
    return -result.epoch if result.val_loss is None else result.val_loss


def _train_loop(model: Any, table: Table, dataset: Dataset, config: Config, chain: Any) -> Loop:
    def between(step: int, logs: dict[str, float]) -> None:
        # Keras itself calls these around a whole pass only.
        chain.on_train_batch_end(step - 1, logs)
        chain.on_train_batch_begin(step)

    return Loop(
        model,
        model.train_step,
        table,
        order=lambda epoch: order(dataset.fit_rows, seed=config.seed, epoch=epoch),
        rows=len(dataset.fit_rows),
        batch_size=config.batch_size,
        xla=config.xla,
        between=between,
    )


def _validation_loop(
    model: Any, table: Table, dataset: Dataset, config: Config, chain: Any
) -> Loop:
    def between(step: int, logs: dict[str, float]) -> None:
        chain.on_test_batch_end(step - 1, logs)
        chain.on_test_batch_begin(step)

    rows = dataset.validation_rows
    batches = -(-len(rows) // VALIDATION_BATCH)
    return Loop(
        model,
        model.test_step,
        table,
        order=lambda _: rows,
        rows=len(rows),
        batch_size=len(rows) // batches,
        xla=config.xla,
        between=between,
    )


def _keras_fit(
    model: Any, loops: Sequence[Loop], config: Config, chain: Any, *, first: int
) -> None:
    import tensorflow as tf

    steps = tf.data.Dataset.range(loops[0].steps)
    # All steps of an epoch in one execution; Keras makes the two functions only when there
    # are none.
    model.steps_per_execution = loops[0].steps
    model.train_function, *rest = loops
    validation = None
    if rest:
        (model.test_function,), validation = rest, steps.take(1)
    try:
        model.fit(
            steps,
            initial_epoch=first,
            epochs=config.epochs,
            validation_data=validation,
            callbacks=chain,
            shuffle=False,
            verbose=0,
        )
    finally:
        model.train_function = model.test_function = None
        model.steps_per_execution = 1


def _early_stopping(patience: int | None) -> Any:
    import keras

    if patience is None:
        return None
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=patience, restore_best_weights=True
    )


def _epochs(results: list[EpochResult], on_epoch: Callable[[EpochResult], None]) -> Any:
    """A callback that collects the results."""
    import keras

    began = 0.0

    def begin(_epoch: int, _logs: Any) -> None:
        nonlocal began
        began = time.perf_counter()

    def end(epoch: int, logs: dict[str, float]) -> None:
        results.append(
            EpochResult(
                epoch=epoch + 1,
                seconds=time.perf_counter() - began,
                loss=logs["loss"],
                accuracy=logs["accuracy"],
                val_loss=logs.get("val_loss"),
                val_accuracy=logs.get("val_accuracy"),
            )
        )
        on_epoch(results[-1])

    return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)


def _divergence(model: Any) -> Any:
    """A callback that raises TrainingDiverged; Keras's TerminateOnNaN looks at the loss only."""
    import keras

    def check(values: dict[str, float], epoch: str) -> None:
        bad = [f"{name} {value}" for name, value in values.items() if not np.isfinite(value)]
        if bad:
            raise TrainingDiverged(
                f"Expected finite numbers in training. Received: {', '.join(bad)}{epoch}.",
                hint="Lower --learning-rate, or look for extreme values in the data.",
            )

    def batch_end(batch: int, logs: dict[str, float]) -> None:
        check({"loss": logs["loss"]}, f" by step {batch + 1}")

    def epoch_end(epoch: int, logs: dict[str, float]) -> None:
        check(logs, f" in epoch {epoch + 1}")
        weights = {w.path: float(np.sum(w.numpy())) for w in model.trainable_variables}
        check(weights, f" in epoch {epoch + 1}")

    return keras.callbacks.LambdaCallback(on_train_batch_end=batch_end, on_epoch_end=epoch_end)


class _Memory:
    """Takes the State of a run between two blocks."""

    def __init__(self, model: Any, stopper: Any, results: list[EpochResult], *, epochs: int):
        self.step = 0
        self.metrics: dict[str, NDArray[Any]] = {}
        self._model, self._stopper, self._results, self._epochs = model, stopper, results, epochs

    def put_back(self, state: State) -> None:
        put_back_patience(self._stopper, state)

    def put_back_metrics(self, state: State) -> None:
        put_back_metrics(self._model, state)

    def trained(self, step: int) -> None:
        """Remembers the metrics of the epoch under way, before validation resets them."""
        self.step, self.metrics = step, metric_values(self._model)

    def epoch_ended(self) -> None:
        self.step, self.metrics = 0, {}

    def take(self, *, finished: bool = False) -> State:
        position = Position(
            epoch=len(self._results),
            step=self.step,
            finished=finished or self._model.stop_training or len(self._results) == self._epochs,
            history=tuple(self._results),
            patience=patience(self._stopper),
        )
        return take(self._model, position, self._stopper, self.metrics)


def _saving(
    memory: _Memory,
    resume: State | None,
    due: Callable[[], bool],
    save: Callable[[State], None],
    should_stop: Callable[[], bool],
) -> Any:
    """A callback that saves when it is time, and saves and raises Preempted when told to stop."""
    import keras

    pending = [resume] if resume and resume.position.step else []

    def train_begin(logs: object) -> None:  # noqa: ARG001 - Keras passes it by name
        if resume:
            memory.put_back(resume)

    def epoch_begin(_epoch: int, logs: object) -> None:  # noqa: ARG001
        if pending:
            memory.put_back_metrics(pending.pop())

    def safe_point() -> None:
        stopping = should_stop()
        if stopping or due():
            save(memory.take())
        if stopping:
            raise Preempted("Expected to train to the end. Received: SIGTERM.")

    def train_batch_end(step: int, logs: object) -> None:  # noqa: ARG001
        memory.trained(step + 1)
        safe_point()

    def validated(_step: int, logs: object) -> None:  # noqa: ARG001
        if should_stop():
            safe_point()

    def epoch_end(_epoch: int, logs: object) -> None:  # noqa: ARG001
        memory.epoch_ended()
        safe_point()

    return keras.callbacks.LambdaCallback(
        on_train_begin=train_begin,
        on_epoch_begin=epoch_begin,
        on_train_batch_end=train_batch_end,
        on_test_batch_end=validated,
        on_epoch_end=epoch_end,
    )

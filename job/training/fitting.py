"""fit(...): Keras's `model.fit` around loops on the device, with early stopping and resume."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.data.dataset import Dataset
from job.device import release_memory
from job.models.mlp import class_weights
from job.training import callbacks as watching
from job.training.blocks import Loop, Table
from job.training.saving import Memory, saving
from job.training.state import EpochResult, State, put_back

VALIDATION_BATCH = 2048
"""Rows of a validation step, at most; more is no faster and needs more memory."""

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
    """Trains a model that `job.models.mlp.build` made, in place.

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
    stopper = watching.early_stopping(config.training.patience)
    memory = Memory(model, stopper, results, epochs=config.training.epochs)
    chain = keras.callbacks.CallbackList(
        [
            watching.divergence(model),  # first, so that nothing is saved of a run that diverged
            watching.epochs(results, on_epoch),
            *([stopper] if stopper else ()),
            *callbacks,
            saving(memory, resume, due, save, should_stop),  # last: it sees what the others did
        ],
        add_history=True,
        model=model,
        epochs=config.training.epochs,
    )
    table = Table(dataset.train.x, dataset.train.y)
    loops = [_train_loop(model, table, dataset, config, chain)]
    if len(dataset.validation_rows):
        loops.append(_validation_loop(model, table, dataset, config, chain))
    chain.params["steps"] = loops[0].steps

    finished = resume is not None and resume.position.finished
    began = time.perf_counter()
    _create_variables(model, dataset)
    if resume:
        put_back(model, resume)
        loops[0].passes, loops[0].first_step = resume.position.epoch, resume.position.step
    for loop in loops if not finished else ():
        loop.trace()
    traced = time.perf_counter()
    for loop in loops if not finished else ():
        # In a thread of its own, since this one must stay free to hear signals.
        ThreadPoolExecutor(1).submit(loop.compile).result()
        release_memory()  # of the compiler
    compiled = time.perf_counter()
    _keras_fit(model, loops, config, chain, first=config.training.epochs if finished else begun)
    ended = time.perf_counter()
    save(memory.take(finished=True))  # also of a finished run: early stopping has chosen by now
    later = results[begun + 1 :] or results[begun:] or results
    return Fitted(
        history=tuple(results),
        best_epoch=min(results, key=_rank).epoch,
        stopped_early=len(results) < config.training.epochs,
        trace_seconds=traced - began,
        compile_seconds=compiled - traced,
        run_seconds=ended - compiled,
        rows_per_second=len(dataset.fit_rows)
        * len(later)
        / sum(result.seconds for result in later),
    )


def order(rows: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows in the order of one epoch (from 0): a function of seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def predict(model: Any, x: Any) -> NDArray[np.float32]:
    """Probabilities of raw rows, in memory that does not grow with the model's layers.

    Args:
        model: Takes rows as they are in x.
        x: (rows, *shape), uint8 or float32; or several such arrays by name.

    Returns:
        (rows, classes), float32.
    """
    rows = len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)
    probabilities = np.empty((rows, *model.output_shape[1:]), np.float32)
    for start in range(0, rows, PREDICT_BATCH):
        stop = start + PREDICT_BATCH
        probabilities[start:stop] = model.predict_on_batch(_part(x, slice(start, stop)))
    return probabilities


def _part(x: Any, rows: slice) -> Any:
    if isinstance(x, Mapping):
        return {name: array[rows] for name, array in x.items()}
    return x[rows]


def _rank(result: EpochResult) -> float:
    return -result.epoch if result.val_loss is None else result.val_loss


def _create_variables(model: Any, dataset: Dataset) -> None:
    """Makes Keras create all variables now; a function that creates some is traced twice."""
    model.optimizer.build(model.trainable_variables)
    y = dataset.train.y[:1]
    model.compute_metrics(
        _part(dataset.train.x, slice(1)), y, np.zeros((1, len(dataset.classes)), np.float32)
    )
    model.reset_metrics()


def _train_loop(model: Any, table: Table, dataset: Dataset, config: Config, chain: Any) -> Loop:
    def between(step: int, logs: dict[str, float]) -> None:
        # Keras itself calls these around a whole pass only.
        chain.on_train_batch_end(step - 1, logs)
        chain.on_train_batch_begin(step)

    return Loop(
        model,
        _weighted(model, class_weights(dataset))
        if config.training.class_weights
        else model.train_step,
        table,
        order=lambda epoch: order(dataset.fit_rows, seed=config.training.seed, epoch=epoch),
        rows=len(dataset.fit_rows),
        batch_size=config.training.batch_size,
        xla=config.training.xla,
        between=between,
    )


def _weighted(model: Any, weights: NDArray[np.float32]) -> Callable[[Any], object]:
    """`train_step` with what `model.fit` makes of `class_weight`; validation has no weights."""
    import tensorflow as tf

    def step(batch: Any) -> object:
        x, y = batch
        return model.train_step((x, y, tf.gather(weights, y)))

    return step


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
        xla=config.training.xla,
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
            epochs=config.training.epochs,
            validation_data=validation,
            callbacks=chain,
            shuffle=False,
            verbose=0,
        )
    finally:
        model.train_function = model.test_function = None
        model.steps_per_execution = 1

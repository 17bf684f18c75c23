"""fit(...): Keras's `model.fit` around loops on the device, with early stopping and resume."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job import device
from job.config import Config
from job.data import memory, splits
from job.data.dataset import Dataset
from job.data.place import beside, blocks
from job.models import plan
from job.models.members import (
    HELD_OUT,
    REPORTED,
    TRAINED,
    as_members,
    averaged,
    class_weights,
    layers,
    probabilities,
)
from job.training import calibration, devices, kernels
from job.training.augment import Augmentation
from job.training.best import Best
from job.training.blocks import Loop
from job.training.calibration import Validation, ValidationScores, scores
from job.training.feeds import Feed, Gathered, Streamed, Table
from job.training.state import EpochResult, State, put_back, put_back_weights

VALIDATION_BATCH = 2048
"""Rows of a validation step, at most; more is no faster and needs more memory."""

PREDICT_BATCH = 4096
"""Rows of a prediction step, at most."""

WIDEST = 1 << 26
"""Numbers that the widest layer gives in a step of validation or prediction, at most."""

AVERAGED = 0.5
"""Exponent of a temperature above 1 that was fitted out of fold, where a row is scored by fewer
members than are published: their average is less sure of itself, and needs less of it."""

MEASURED_SECONDS = 2.0
"""For which one device trains alone, before several do, so that they can be compared."""


class _EnoughMeasuredError(Exception):
    """Ends a measurement."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of training; the weights are in the model.

    Attributes:
        history: One entry for each epoch.
        best_epoch: The epoch, from 1, with the lowest validation loss; the last one when no rows
            are held out. With early stopping a model without members has its weights.
        kept_epoch: The epoch whose weights the model has, from 1; None where each of several
            members has one of its own. A single member's has the lowest loss as `Best` sees it.
        network: Rows → (rows, classes): what is evaluated and published. The model itself, or the
            average of its members; None on other hosts than worker 0.
        validation: How it does on rows that it was not trained on; None without such rows.
        time_limited: Steps done when the time limit ended training; None when it did not.
        trace_seconds: Turning Python into a graph.
        compile_seconds: Compiling the graph.
        run_seconds: All epochs, with validation.
        rows_per_second: Training rows over the seconds of the epochs after the first.
        speedup: What several devices are worth; None for one, or when nothing was left to train.
    """

    history: tuple[EpochResult, ...]
    best_epoch: int
    kept_epoch: int | None
    network: Any
    validation: Validation | None
    time_limited: int | None
    trace_seconds: float
    compile_seconds: float
    run_seconds: float
    rows_per_second: float
    speedup: devices.Speedup | None = None

    def validation_scores(self, dataset: Dataset) -> ValidationScores | None:
        """How the published weights do on rows that they were not trained on; None without such.

        Args:
            dataset: What the model was fitted to.
        """
        if self.validation:
            return scores(self.validation, dataset.train.y)
        kept = self.history[self.kept_epoch - 1] if self.kept_epoch else None
        if kept is None or kept.val_loss is None or kept.val_accuracy is None:
            return None
        return ValidationScores(
            kind="held-out",
            rows=len(dataset.validation_rows),
            loss=kept.val_loss,
            accuracy=kept.val_accuracy,
            temperature=1.0,
        )


def fit(
    model: Any,
    dataset: Dataset,
    config: Config,
    *,
    callbacks: Sequence[Any] = (),
    on_epoch: Callable[[Sequence[EpochResult]], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    resume: State | None = None,
    due: Callable[[], bool] = lambda: False,
    save: Callable[[State], object] = lambda _: None,
    on_drop: Callable[[int, int], None] = lambda _member, _left: None,
    plain: Any = None,
    peers: devices.Peers = devices.ALONE,
    limited_at: int | None = None,
) -> Fitted:
    """Trains a model that a module of `job.models` built, in place.

    Args:
        model: Compiled: `keras.Sequential`, a Functional model, or `Members`.
        dataset: Its `fit_rows` are trained on, its `validation_rows` validated on; members hold
            out folds of the former when there are none of the latter.
        config: Where it leaves options open, the reference MLP's values count.
        callbacks: Keras callbacks; `on_train_batch_end` is called after each block of steps.
        on_epoch: Gets all epochs so far when one has ended.
        should_stop: Asked after each block and each epoch.
        resume: Where to go on; None begins anew.
        due: Asked after each block of training and each epoch: is it time to save?
        save: Gets the state when it is, when `should_stop` says so, and at the end.
        on_drop: Gets the number of a member that diverged, from 0, and how many are left.
        plain: The same model on one device, where the other one is on several: it gets the
            trained weights, and its network is the one that is published.
        peers: Hosts that train along; worker 0 decides, saves, and needs `plain`.
        limited_at: Steps after which the time limit ended the training that is done again; the
            clock decides nothing then.

    Raises:
        MemoryError: A step needs more than there is.
        TrainingDiverged: The loss, the validation loss or the weights are not finite.
        Preempted: `should_stop` said so, and the state was saved.
    """
    import keras

    from job.training import callbacks as own

    config = plan.reference(config)
    many = as_members(model)
    results: list[EpochResult] = list(resume.position.history) if resume else []
    earlier = len(results)  # epochs of the tries before
    epochs, patience = int(config.training.epochs or 0), config.training.patience
    limit, spent = config.training.time_limit, resume.position.seconds if resume else 0.0
    began = time.perf_counter()

    def seconds() -> float:
        return spent + time.perf_counter() - began

    def over(more: float) -> bool:
        if limited_at is not None:
            return len(results) * loops[0].steps >= limited_at
        if limit is None or len(results) == epochs:  # nothing is left for it to end
            return False
        return bool(peers.agree(seconds() + more > limit))

    def saved(state: State) -> None:
        with peers.resting():
            if peers.index == 0:
                save(state)
            peers.agree(None)  # nobody goes on, or ends, before that

    fold = _folds(many, dataset, config) if many else None
    held = dataset.validation_rows
    if fold is not None:
        validates = (fold >= 0) & (fold < many.members) if many.folds else fold == HELD_OUT
        held = beside(fold).where(validates, "validation rows")
    stopper: Any = None
    if many:
        stopper = Best(many, patience if len(held) else None)
    elif patience is not None or (limit is not None and len(held)):
        stopper = own.early_stopping(epochs if patience is None else patience)
    deadline = own.Deadline(stopper, over, keep_best=patience is not None)
    saving = own.Saving(
        stopper,
        results,
        deadline,
        seconds=seconds,
        resume=resume,
        due=lambda: bool(peers.agree(due())),
        save=saved,
        should_stop=lambda: peers.any(should_stop()),
        peers=peers,
    )
    chain = keras.callbacks.CallbackList(
        [
            # First, so that nothing is saved of a run that diverged.
            own.Divergence(on_drop),
            own.Results(results, on_epoch),
            deadline,
            *([own.BestMembers(stopper) if many else stopper] if stopper else ()),
            *callbacks,
            saving,  # last: it sees what the others did
        ],
        add_history=True,
        model=model,
        epochs=epochs,
    )
    y = dataset.train.y if fold is None else (dataset.train.y, fold)
    training, validating = _feeds(model, dataset.train.x, y, dataset, held, config)
    loops = [_train_loop(model, training, dataset, config, chain, peers)]
    if validating:
        loops.append(_validation_loop(model, validating, config, chain, peers))
    chain.params["steps"] = loops[0].steps

    finished = resume is not None and resume.position.finished
    # What time there was may be over before this try begins.
    late = not finished and earlier > 0 and over(results[-1].seconds)
    deadline.limited = late or (finished and resume is not None and resume.position.limited)
    preparing = time.perf_counter()
    _expect_room_for_activations(
        model, min(int(config.training.batch_size or 0), len(dataset.fit_rows))
    )
    with device.scope(model.distribute_strategy):
        _create_variables(model, dataset)
    if resume:
        put_back(model, resume)
        loops[0].passes, loops[0].first_step = resume.position.epoch, resume.position.step
    idle = finished or late
    alone = None
    if plain is not None and not idle:
        plain.optimizer.build(plain.trainable_variables)
        alone = _rate(plain, training, dataset, config, should_stop)
    with devices.as_one(model), kernels.fast(model), peers.in_step():
        for loop in loops if not idle else ():
            loop.trace()
        traced = time.perf_counter()
        for loop in loops if not idle else ():
            # In a thread of its own, since this one must stay free to hear signals.
            ThreadPoolExecutor(1).submit(loop.compile).result()
            device.release_memory()  # of the compiler
        compiled = time.perf_counter()
        _keras_fit(model, loops, config, chain, first=epochs if idle else earlier)
    ended = time.perf_counter()
    last = saving.state(finished=True)  # also of a finished run: early stopping has chosen by now
    saved(last)
    if plain is not None:
        put_back_weights(plain, last)
    # The first epoch of a try is slower than the others.
    later = results[earlier + 1 :] or results[earlier:] or results
    network, validation = None, None
    if peers.index == 0:
        network, validation = _finish(model if plain is None else plain, dataset, fold)
    best_epoch = min(results, key=_rank).epoch
    keeps_best = patience is not None or deadline.limited
    kept_epoch: int | None = best_epoch if keeps_best else len(results)
    if keeps_best and many and stopper.lowest.any():
        kept_epoch = None if many.members > 1 else int(stopper.lowest[0])
    rate = len(dataset.fit_rows) * len(later) / sum(result.seconds for result in later)
    return Fitted(
        history=tuple(results),
        best_epoch=best_epoch,
        kept_epoch=kept_epoch,
        network=network,
        validation=validation,
        time_limited=len(results) * loops[0].steps if deadline.limited else None,
        trace_seconds=traced - preparing,
        compile_seconds=compiled - traced,
        run_seconds=ended - compiled,
        rows_per_second=rate,
        speedup=devices.Speedup(devices=devices.count(model), rows_per_second=rate, alone=alone)
        if alone
        else None,
    )


def _finish(
    model: Any, dataset: Dataset, fold: NDArray[np.int32] | None
) -> tuple[Any, Validation | None]:
    """The network to publish, and how it does on held-out rows.

    Args:
        model: Trained.
        dataset: The rows.
        fold: As `_folds` gives them; None for a model without members.
    """
    many = as_members(model)
    if fold is None:
        return model, None
    shares = np.asarray(many.active, np.float64)
    shares /= shares.sum()
    place = beside(fold)
    held = place.where(fold >= 0 if many.folds else fold == REPORTED, "validation rows")
    if not len(held):
        return averaged(many, shares), None
    said = predict(probabilities(many), dataset.train.x, held)
    spans = [many.held(fold[held[some]]).any(axis=1) for some in blocks(len(held))]
    known = np.concatenate(spans)  # a fold's members may all have been dropped
    if not known.all():
        held, said = held[known], said[known]
    y = place.taken(dataset.train.y, held, "validation rows")
    families: dict[str, float] = {}
    if many.families and not many.folds:
        families, shares = _family_shares(many, said, y)
    mean = place.array((len(held), said.shape[2]), np.float32, "validation rows")
    for some in blocks(len(held)):
        weights = many.held(fold[held[some]]) * shares
        total = weights.sum(axis=1, keepdims=True)
        mean[some] = np.einsum("rkc,rk->rc", said[some], weights) / total
    temperature = calibration.temperature(mean, y)
    if many.folds and temperature > 1:
        temperature **= AVERAGED
    for some in blocks(len(mean)):
        mean[some] = calibration.scaled(mean[some], temperature)
    return averaged(many, shares, temperature), Validation(
        kind="out-of-fold" if many.folds else "held-out",
        rows=held,
        probabilities=mean,
        temperature=temperature,
        families=families,
    )


def _family_shares(
    many: Any, said: NDArray[np.float32], y: NDArray[np.int32]
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Family → its share in the mean, fitted to held-out rows, and (members,) each member's.

    Args:
        many: `Members` of several families.
        said: (rows, members, classes) probabilities.
        y: (rows,) class indices.
    """
    within = np.asarray(many.active, np.float64).reshape(len(many.families), -1)
    within /= np.maximum(within.sum(axis=1, keepdims=True), 1)
    means = np.einsum("rfmc,fm->rfc", said.reshape(len(said), *within.shape, -1), within)
    found = calibration.family_shares(means, y)
    shares = (found[:, None] * within).ravel()
    return dict(zip(many.families, found.tolist(), strict=True)), shares / shares.sum()


def _folds(many: Any, dataset: Dataset, config: Config) -> NDArray[np.int32]:
    """(rows,) int32: the fold of each training row, or what stands in its place.

    Of rows that all members hold out, half decide when they stop, and half are reported.
    """
    y = dataset.train.y
    fold = beside(y).array(y.shape, np.int32, "folds")
    fold[:] = TRAINED
    rows = dataset.fit_rows if many.folds else dataset.validation_rows
    parts = splits.folds(
        beside(y).taken(y, rows, "folds"),
        beside(y).taken(dataset.keys(), rows, "folds"),
        many.folds or 2,
        seed=config.training.seed,
        place=beside(y),
    )
    for some in blocks(len(rows)):
        part = parts[some]
        fold[rows[some]] = part if many.folds else np.where(part == 0, HELD_OUT, REPORTED)
    return fold


def order(rows: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows in the order of one epoch (from 0): a function of seed and epoch alone."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def predict(model: Any, x: Any, at: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    """Probabilities of raw rows, in memory that does not grow with the model's layers.

    Args:
        model: Takes rows as they are in x.
        x: (rows, *shape), uint8 or float32; or several such arrays by name.
        at: The rows of x that are meant; None for all.

    Returns:
        (rows, classes), float32.
    """
    rows = len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)
    rows = rows if at is None else len(at)
    place = beside(next(iter(x.values())) if isinstance(x, Mapping) else x)
    probabilities = place.array((rows, *model.output_shape[1:]), np.float32, "predictions")
    batch = min(PREDICT_BATCH, _most_rows(model))
    for start in range(0, rows, batch):
        some = slice(start, start + batch)
        probabilities[some] = model.predict_on_batch(_part(x, some if at is None else at[some]))
    return probabilities


def _most_rows(model: Any) -> int:
    """Rows that a step without gradients takes at most, by the model's widest layer."""
    import keras

    widest = max(
        math.prod(tensor.shape[1:])
        for layer in layers(model)
        for tensor in keras.tree.flatten(layer.output)
    )
    return max(1, WIDEST // int(widest))


def _expect_room_for_activations(model: Any, rows: int) -> None:
    """Raises MemoryError where memory does not hold what a step keeps for its gradients.

    A GPU reports that itself; without one, the system would kill the process. Counted is what
    layers with weights give, since the gradients of those or of the next layers need it.
    """
    import keras
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return
    needed = rows * sum(
        math.prod(tensor.shape[1:]) * (2 if "16" in layer.compute_dtype else 4)
        for layer in layers(model)
        if layer.trainable_weights
        for tensor in keras.tree.flatten(layer.output)
    )
    if needed > memory.limit():
        raise MemoryError(
            f"a step whose activations take {needed / 2**30:.1f} GiB of memory, of "
            f"{memory.limit() / 2**30:.1f} GiB"
        )


def _part(x: Any, rows: slice | NDArray[np.int64]) -> Any:
    if isinstance(x, Mapping):
        return {name: array[rows] for name, array in x.items()}
    return x[rows]


def _rank(result: EpochResult) -> float:
    """Lowest for the epoch with the lowest validation loss, without one for the last epoch."""
    return -result.epoch if result.val_loss is None else result.val_loss


def _create_variables(model: Any, dataset: Dataset) -> None:
    """Makes Keras create all variables now; a function that creates some is traced twice."""
    model.optimizer.build(model.trainable_variables)
    if as_members(model):
        return
    y = dataset.train.y[:1]
    model.compute_metrics(
        _part(dataset.train.x, slice(1)), y, np.zeros((1, len(dataset.classes)), np.float32)
    )
    model.reset_metrics()


def _augmentation(config: Config) -> Augmentation | None:
    words = config.training.changes
    return Augmentation(words=words, seed=config.training.seed) if words else None


def _feeds(
    model: Any, x: Any, y: Any, dataset: Dataset, held: NDArray[np.int64], config: Config
) -> tuple[Feed, Feed | None]:
    """Where the rows of training come from, and those of validation, if there are any."""
    fit_rows, batch = dataset.fit_rows, int(config.training.batch_size or 0)
    held_batch = len(held) // max(1, -(-len(held) // min(VALIDATION_BATCH, _most_rows(model))))
    seed, augmentation = config.training.seed, _augmentation(config)
    draw = augmentation.draw if augmentation else None
    if config.data.feed == "stream":
        return (
            Streamed(x, y, fit_rows, batch_size=batch, seed=seed, draw=draw),
            Streamed(x, y, held, batch_size=held_batch, seed=None) if len(held) else None,
        )
    table = Table(x, y)

    def shuffled(epoch: int) -> NDArray[np.int64]:
        return order(fit_rows, seed=seed, epoch=epoch)

    return (
        Gathered(table, shuffled, rows=len(fit_rows), batch_size=batch, draw=draw),
        Gathered(table, lambda _: held, rows=len(held), batch_size=held_batch)
        if len(held)
        else None,
    )


def _train_loop(
    model: Any, feed: Feed, dataset: Dataset, config: Config, chain: Any, peers: devices.Peers
) -> Loop:
    def between(step: int, logs: dict[str, Any]) -> None:
        # Keras itself calls these around a whole pass only.
        chain.on_train_batch_end(step - 1, logs)
        chain.on_train_batch_begin(step)

    return _loop(model, feed, dataset, config, between, peers)


def _rate(
    model: Any, feed: Feed, dataset: Dataset, config: Config, should_stop: Callable[[], bool]
) -> float:
    """Rows a second that a model trains on, without validation; its weights change."""
    done: list[tuple[float, int]] = []
    steps = 0

    def between(step: int, _: dict[str, Any]) -> None:
        done.append((time.perf_counter(), steps + step))
        if done[-1][0] - done[0][0] > MEASURED_SECONDS or should_stop():
            raise _EnoughMeasuredError

    loop = _loop(model, feed, dataset, config, between)
    ThreadPoolExecutor(1).submit(loop.compile).result()
    with contextlib.suppress(_EnoughMeasuredError):
        while True:
            loop()
            steps += loop.steps
            between(0, {})
    half, last = done[(len(done) - 1) // 2], done[-1]
    rows = (last[1] - half[1]) / feed.steps * len(dataset.fit_rows)
    return rows / max(last[0] - half[0], 1e-9)


def _loop(
    model: Any,
    feed: Feed,
    dataset: Dataset,
    config: Config,
    between: Callable[[int, dict[str, Any]], None],
    peers: devices.Peers = devices.ALONE,
) -> Loop:
    augmentation = _augmentation(config)
    return Loop(
        model,
        _weighted(model, class_weights(dataset))
        if config.training.class_weights and not as_members(model)
        else devices.train_step(model),
        feed,
        xla=_xla(model, config),
        between=between,
        change=augmentation.change if augmentation else None,
        peers=peers,
    )


def _xla(model: Any, config: Config) -> bool:
    """Whether the loops are compiled with XLA: no convolutions on a processor, no several devices.

    Gradients of convolutions took 20 times as long there as oneDNN's; see tests/bench. XLA
    compiles no loop around the sums of several devices.
    """
    import tensorflow as tf

    if devices.count(model) > 1:
        return False
    on_processor = not tf.config.get_visible_devices("GPU")
    return config.training.xla and not (plan.convolves(config) and on_processor)


def _weighted(model: Any, weights: NDArray[np.float32]) -> Callable[[Any], object]:
    """`train_step` with what `model.fit` makes of `class_weight`; validation has no weights."""
    import tensorflow as tf

    train_step = devices.train_step(model)

    def step(batch: Any) -> object:
        x, y = batch
        return train_step((x, y, tf.gather(weights, y)))

    return step


def _validation_loop(
    model: Any, feed: Feed, config: Config, chain: Any, peers: devices.Peers
) -> Loop:
    def between(step: int, logs: dict[str, Any]) -> None:
        chain.on_test_batch_end(step - 1, logs)
        chain.on_test_batch_begin(step)

    return Loop(model, model.test_step, feed, xla=_xla(model, config), between=between, peers=peers)


def _no_rows(model: Any, steps: int) -> Any:
    """What `model.fit` counts the steps of a pass by."""
    import tensorflow as tf

    numbers = tf.data.Dataset.range(steps)
    if devices.count(model) == 1:
        return numbers
    return model.distribute_strategy.distribute_datasets_from_function(lambda _: numbers)


def _keras_fit(
    model: Any, loops: Sequence[Loop], config: Config, chain: Any, *, first: int
) -> None:
    steps = _no_rows(model, loops[0].steps)
    # All steps of an epoch in one execution; Keras makes the two functions only when there
    # are none.
    model.steps_per_execution = loops[0].steps
    model.train_function, *rest = loops
    # The model is built; on several devices Keras would look for a batch to build it by.
    model._maybe_symbolic_build = lambda **_: None
    validation = None
    if rest:
        (model.test_function,), validation = rest, _no_rows(model, 1)
    try:
        model.fit(
            steps,
            initial_epoch=first,
            epochs=int(config.training.epochs or 0),
            validation_data=validation,
            callbacks=chain,
            shuffle=False,
            verbose=0,
        )
    finally:
        model.train_function = model.test_function = None
        model.steps_per_execution = 1

"""Keras callbacks of training: epoch results, divergence, early stopping, time limit, saving.

Importing this module imports Keras, so only `fit` does, once it is needed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from job.errors import Preempted, TrainingDiverged
from job.training import devices
from job.training.best import Best
from job.training.state import (
    EpochResult,
    Position,
    State,
    metric_values,
    patience,
    put_back_metrics,
    put_back_patience,
    take,
)

Logs = Mapping[str, Any] | None


def early_stopping(epochs: int) -> Any:
    """Keras's own, which restores the best weights after so many epochs without a lower loss."""
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=epochs, restore_best_weights=True
    )


class BestMembers(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the best weights of `Members`, and ends training when all of them are done."""

    def __init__(self, best: Best) -> None:
        super().__init__()
        self._best = best

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs and "val_loss" in logs:
            self._best.epoch_ended(logs)
            self.model.stop_training |= self._best.done

    def on_train_end(self, logs: Logs = None) -> None:
        self._best.choose()


class Deadline(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training when there is no time for another epoch.

    Args:
        stopper: `keras.callbacks.EarlyStopping`, `Best`, or None: its best weights count.
        over: Whether so many more seconds are too many.
        keep_best: Whether the best weights count, too, when time did not end training.

    Attributes:
        limited: Whether it did.
    """

    def __init__(self, stopper: Any, over: Callable[[float], bool], *, keep_best: bool) -> None:
        super().__init__()
        self.limited = False
        self._stopper, self._over, self._keep_best = stopper, over, keep_best
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self.model.stop_training and self._over(time.perf_counter() - self._began):
            self.limited = self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self._stopper is None or self._keep_best or self.limited:
            return
        if isinstance(self._stopper, Best):
            self._stopper.forget()
        else:
            self._stopper.best_weights = None


class Results(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects the result of each epoch.

    Args:
        results: Gets them.
        on_epoch: Called after each epoch with all so far.
    """

    def __init__(
        self, results: list[EpochResult], on_epoch: Callable[[Sequence[EpochResult]], None]
    ) -> None:
        super().__init__()
        self._results, self._on_epoch = results, on_epoch
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        result = EpochResult(
            epoch=epoch + 1,
            seconds=time.perf_counter() - self._began,
            loss=logs["loss"],
            accuracy=logs["accuracy"],
            val_loss=logs.get("val_loss"),
            val_accuracy=logs.get("val_accuracy"),
        )
        self._results.append(result)
        self._on_epoch(self._results)


class Divergence(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises TrainingDiverged when a number is not finite; TerminateOnNaN sees the loss only.

    An independent member whose numbers are not finite is dropped while at least half are left.

    Args:
        on_drop: Gets the number of a member that was dropped, from 0, and how many are left.
    """

    def __init__(self, on_drop: Callable[[int, int], None]) -> None:
        super().__init__()
        self._on_drop = on_drop

    def on_train_batch_end(self, step: int, logs: Mapping[str, Any]) -> None:
        when = f"by step {step + 1}"
        if self._many:
            self._drop(np.isfinite(np.asarray(logs["member_loss"])), when)
        else:
            _expect_finite({"loss": logs["loss"]}, when)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any]) -> None:
        when = f"in epoch {epoch + 1}"
        model = self.model
        if self._many:
            finite = np.isfinite(np.asarray(logs.get("val_member_loss", logs["member_loss"])))
            finite &= model.finite() & np.isfinite(np.asarray(logs["member_loss"]))
            self._drop(finite, when)
            return
        _expect_finite({k: v for k, v in logs.items() if not k.endswith("member_loss")}, when)
        for weights in model.trainable_variables:
            if not np.isfinite(weights.numpy()).all():
                _expect_finite({weights.path: np.nan}, when)

    @property
    def _many(self) -> bool:
        return getattr(self.model, "members", 1) > 1

    def _drop(self, finite: NDArray[np.bool_], when: str) -> None:
        active = np.asarray(self.model.active) > 0
        bad, left = active & ~finite, int((active & finite).sum())
        if not bad.any():
            return
        if 2 * left < len(active):
            _expect_finite({"loss of more than half of the members": np.nan}, when)
        self.model.drop(bad)
        for member in np.flatnonzero(bad):
            self._on_drop(int(member), left)


def _expect_finite(values: Mapping[str, Any], when: str) -> None:
    bad = [f"{name} {value}" for name, value in values.items() if not np.isfinite(value).all()]
    if bad:
        raise TrainingDiverged(
            f"Expected finite numbers in training. Received: {', '.join(bad)} {when}.",
            hint="Lower --learning-rate, or look for extreme values in the data.",
        )


class Saving(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves when it is time, and saves and raises Preempted when the run is to stop.

    It acts at the safe points between two blocks of steps. Keras resets early stopping when
    training begins and metrics when an epoch does; so what is resumed is put back right after.

    Args:
        stopper: `keras.callbacks.EarlyStopping`, `Best`, or None.
        results: One for each epoch that has ended; somebody else adds to it.
        deadline: Knows whether the time limit has ended training.
        seconds: Spent in training so far.
        resume: Where training goes on; None at its beginning.
        due: Whether it is time to save.
        save: Gets the state.
        should_stop: Whether the run is to stop.
        peers: Hosts that train along, and come to the same decisions.
    """

    def __init__(
        self,
        stopper: Any,
        results: list[EpochResult],
        deadline: Deadline,
        *,
        seconds: Callable[[], float],
        resume: State | None,
        due: Callable[[], bool],
        save: Callable[[State], object],
        should_stop: Callable[[], bool],
        peers: devices.Peers,
    ) -> None:
        super().__init__()
        self._stopper, self._results, self._deadline = stopper, results, deadline
        self._seconds, self._resume = seconds, resume
        self._due, self._save, self._should_stop = due, save, should_stop
        self._peers = peers
        self._step = 0
        self._metrics: dict[str, NDArray[Any]] = {}

    def state(
        self, *, finished: bool = False, metrics: Mapping[str, NDArray[Any]] | None = None
    ) -> State:
        """The state as it is now, with the metrics of all hosts where they count."""
        last = self.model.stop_training or len(self._results) == self.params["epochs"]
        position = Position(
            epoch=len(self._results),
            step=self._step,
            finished=finished or last,
            history=tuple(self._results),
            patience=patience(self._stopper),
            seconds=self._seconds(),
            limited=self._deadline.limited,
        )
        return take(self.model, position, self._stopper, metrics or {})

    def on_train_begin(self, logs: Logs = None) -> None:
        if self._resume:
            put_back_patience(self._stopper, self._resume)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self._resume and self._resume.position.step:
            put_back_metrics(self.model, self._resume, self._peers)
        self._resume = None

    def on_train_batch_end(self, step: int, logs: Logs = None) -> None:
        # Validation will reset Keras's metrics.
        self._step, self._metrics = step + 1, metric_values(self.model)
        self._safe_point()

    def on_test_batch_end(self, step: int, logs: Logs = None) -> None:
        if self._should_stop():
            self._safe_point()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._step, self._metrics = 0, {}
        self._safe_point()

    def _safe_point(self) -> None:
        stopping = self._should_stop()
        if stopping or self._due():
            metrics = devices.gathered(self.model, self._metrics, self._peers)
            state = self.state(metrics=metrics)
            if self._peers.agree(
                state.finite
            ):  # else the next block reports it, and the last one saved stays
                self._save(state)
        if stopping:
            raise Preempted(
                "Expected to train to the end. Received: SIGTERM.",
                hint="Run the same command again with the same --run-id.",
            )

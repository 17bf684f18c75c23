"""Keras callbacks that training needs: results, divergence, early stopping."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import TrainingDiverged
from job.training.best import Best
from job.training.state import EpochResult


def early_stopping(patience: int | None) -> Any:
    """Keras's callback, which restores the best weights; None without patience."""
    import keras

    if patience is None:
        return None
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=patience, restore_best_weights=True
    )


def best_members(best: Best) -> Any:
    """A callback that keeps the best weights of `Members`, and ends training when all are done."""
    import keras

    callback = keras.callbacks.Callback()

    def epoch_end(_epoch: int, logs: Mapping[str, Any]) -> None:
        if "val_loss" in logs:
            best.epoch_ended(logs)
            callback.model.stop_training |= best.done

    callback.on_epoch_end = epoch_end
    callback.on_train_end = lambda logs=None: best.choose()  # noqa: ARG005 - Keras passes it
    return callback


def deadline(stopper: Any, over: Callable[[float], bool], *, keep_best: bool) -> Any:
    """A callback that ends training when the time for another epoch is not there.

    Args:
        stopper: `keras.callbacks.EarlyStopping`, `Best`, or None: its best weights count.
        over: Whether so many more seconds are too many.
        keep_best: Whether the best weights count, too, when time did not end training.

    Attributes:
        limited: Whether it did.
    """
    import keras

    callback = keras.callbacks.Callback()
    callback.limited = False
    began = 0.0

    def epoch_begin(_epoch: int, logs: object = None) -> None:  # noqa: ARG001
        nonlocal began
        began = time.perf_counter()

    def epoch_end(_epoch: int, logs: object = None) -> None:  # noqa: ARG001
        if not callback.model.stop_training and over(time.perf_counter() - began):
            callback.limited = callback.model.stop_training = True

    def train_end(logs: object = None) -> None:  # noqa: ARG001
        if stopper is None or keep_best or callback.limited:
            return
        if isinstance(stopper, Best):
            stopper.forget()
        else:
            stopper.best_weights = None

    callback.on_epoch_begin, callback.on_epoch_end = epoch_begin, epoch_end
    callback.on_train_end = train_end
    return callback


def epochs(results: list[EpochResult], on_epoch: Callable[[EpochResult], None]) -> Any:
    """A callback that collects the results and tells of each."""
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


def divergence(model: Any, on_drop: Callable[[int, int], None]) -> Any:
    """A callback that raises TrainingDiverged; Keras's TerminateOnNaN looks at the loss only.

    An independent member whose numbers are not finite is dropped while at least half are left.

    Args:
        model: The model in training.
        on_drop: Gets the number of a member that was dropped, from 0, and how many are left.
    """
    import keras

    many = getattr(model, "members", 1) > 1

    def check(values: Mapping[str, Any], when: str) -> None:
        bad = [f"{name} {value}" for name, value in values.items() if not np.isfinite(value).all()]
        if bad:
            raise TrainingDiverged(
                f"Expected finite numbers in training. Received: {', '.join(bad)} {when}.",
                hint="Lower --learning-rate, or look for extreme values in the data.",
            )

    def drop(finite: NDArray[np.bool_], when: str) -> None:
        there = np.asarray(model.active) > 0
        bad, left = there & ~finite, int((there & finite).sum())
        if not bad.any():
            return
        if 2 * left < len(there):
            check({"loss of more than half of the members": np.nan}, when)
        model.drop(bad)
        for member in np.flatnonzero(bad):
            on_drop(int(member), left)

    def batch_end(step: int, logs: Mapping[str, Any]) -> None:
        if many:
            drop(np.isfinite(np.asarray(logs["member_loss"])), f"by step {step + 1}")
        else:
            check({"loss": logs["loss"]}, f"by step {step + 1}")

    def epoch_end(epoch: int, logs: Mapping[str, Any]) -> None:
        when = f"in epoch {epoch + 1}"
        if many:
            finite = np.isfinite(np.asarray(logs.get("val_member_loss", logs["member_loss"])))
            finite &= model.finite() & np.isfinite(np.asarray(logs["member_loss"]))
            drop(finite, when)
            return
        check({k: v for k, v in logs.items() if not k.endswith("member_loss")}, when)
        for weights in model.trainable_variables:
            if not np.isfinite(weights.numpy()).all():
                check({weights.path: np.nan}, when)

    return keras.callbacks.LambdaCallback(on_train_batch_end=batch_end, on_epoch_end=epoch_end)

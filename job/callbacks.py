"""The Keras callbacks that training needs: results, divergence, early stopping, preemption."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from job.errors import Preempted, TrainingDiverged


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """One epoch: its number from 1, its seconds with validation, and Keras's own metrics.

    The validation values are None when no rows are held out.
    """

    epoch: int
    seconds: float
    loss: float
    accuracy: float
    val_loss: float | None
    val_accuracy: float | None


def early_stopping(patience: int | None) -> list[Any]:
    """Keras's callback, which restores the best weights; none without patience."""
    import keras

    if patience is None:
        return []
    return [
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=patience, restore_best_weights=True
        )
    ]


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


def divergence(model: Any) -> Any:
    """A callback that raises TrainingDiverged; Keras's TerminateOnNaN looks at the loss only."""
    import keras

    def check(values: dict[str, float], when: str) -> None:
        bad = [f"{name} {value}" for name, value in values.items() if not np.isfinite(value)]
        if bad:
            raise TrainingDiverged(
                f"Expected finite numbers in training. Received: {', '.join(bad)} {when}.",
                hint="Lower --learning-rate, or look for extreme values in the data.",
            )

    def batch_end(step: int, logs: dict[str, float]) -> None:
        check({"loss": logs["loss"]}, f"by step {step + 1}")

    def epoch_end(epoch: int, logs: dict[str, float]) -> None:
        check(logs, f"in epoch {epoch + 1}")
        for weights in model.trainable_variables:
            if not np.isfinite(weights.numpy()).all():
                check({weights.path: np.nan}, f"in epoch {epoch + 1}")

    return keras.callbacks.LambdaCallback(on_train_batch_end=batch_end, on_epoch_end=epoch_end)


def preemption(should_stop: Callable[[], bool]) -> Any:
    """A callback that raises Preempted when it is told to."""
    import keras

    def check(_step: int, logs: object) -> None:  # noqa: ARG001
        if should_stop():
            raise Preempted("Expected to train to the end. Received: SIGTERM.")

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=check, on_test_batch_end=check, on_epoch_end=check
    )

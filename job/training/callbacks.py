"""Keras callbacks that training needs: results, divergence, early stopping."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from job.errors import TrainingDiverged
from job.training.state import EpochResult


def early_stopping(patience: int | None) -> Any:
    """Keras's callback, which restores the best weights; None without patience."""
    import keras

    if patience is None:
        return None
    return keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=patience, restore_best_weights=True
    )


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

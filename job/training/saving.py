"""When training is saved and stopped: a Keras callback at the safe points between two blocks."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from job.errors import Preempted
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


class Memory:
    """What a run will have to remember, kept up to date between two blocks.

    Args:
        model: The model in training.
        stopper: `keras.callbacks.EarlyStopping`, `Best`, or None.
        results: One for each epoch that has ended; somebody else adds to it.
        epochs: How many there are to be.
        seconds: Spent in training so far.
        limited: Whether the time limit has ended training.
    """

    def __init__(
        self,
        model: Any,
        stopper: Any,
        results: list[EpochResult],
        *,
        epochs: int,
        seconds: Callable[[], float],
        limited: Callable[[], bool],
    ):
        self._model, self._stopper, self._results, self._epochs = model, stopper, results, epochs
        self._seconds, self._limited = seconds, limited
        self._step = 0
        self._metrics: dict[str, NDArray[Any]] = {}

    def trained(self, step: int) -> None:
        """So many steps of the epoch are done; validation will reset Keras's metrics."""
        self._step, self._metrics = step, metric_values(self._model)

    def epoch_ended(self) -> None:
        """The next epoch begins with nothing."""
        self._step, self._metrics = 0, {}

    def take(self, *, finished: bool = False) -> State:
        """The state as it is now."""
        last = self._model.stop_training or len(self._results) == self._epochs
        position = Position(
            epoch=len(self._results),
            step=self._step,
            finished=finished or last,
            history=tuple(self._results),
            patience=patience(self._stopper),
            seconds=self._seconds(),
            limited=self._limited(),
        )
        return take(self._model, position, self._stopper, self._metrics)

    def put_back(self, state: State) -> None:
        """Gives early stopping its memory, when training has begun."""
        put_back_patience(self._stopper, state)

    def put_back_metrics(self, state: State) -> None:
        """Gives the metrics their values, when the epoch has begun."""
        put_back_metrics(self._model, state)


def saving(
    memory: Memory,
    resume: State | None,
    due: Callable[[], bool],
    save: Callable[[State], object],
    should_stop: Callable[[], bool],
) -> Any:
    """A callback that saves when it is time, and saves and raises Preempted when told to stop.

    Keras resets early stopping when training begins and metrics when an epoch does; so what is
    resumed is put back right after.
    """
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
            state = memory.take()
            if state.finite:  # else the next block tells of it, and the last one saved stays
                save(state)
        if stopping:
            raise Preempted(
                "Expected to train to the end. Received: SIGTERM.",
                hint="Run the same command again with the same --run-id.",
            )

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

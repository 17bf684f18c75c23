"""All that training must remember to go on with the same bits: State, taken and put back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError
from job.storage.documents import decode, encode
from job.training import devices
from job.training.best import Best


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


@dataclass(frozen=True, kw_only=True)
class Patience:
    """What Keras's EarlyStopping remembers besides the best weights; epochs count from 0."""

    wait: int
    best: float | None
    best_epoch: int
    stopped_epoch: int


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: Epochs that have ended.
        step: Steps done of the epoch under way; all of them while it is validated.
        finished: True when no epoch is left, or training was stopped early.
        history: One result for each epoch that has ended.
        patience: None without early stopping.
        seconds: Spent in training by all tries so far.
        limited: Whether the time limit ended training.
    """

    epoch: int
    step: int
    finished: bool
    history: tuple[EpochResult, ...]
    patience: Patience | None
    seconds: float = 0.0
    limited: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """A position, and the variables there.

    Attributes:
        position: How far the run has come.
        arrays: Name → value. Weights, seed generators, optimizer and metrics by number, in
            Keras's own order; with early stopping the best weights, too.
    """

    position: Position
    arrays: Mapping[str, NDArray[Any]]

    @property
    def finite(self) -> bool:
        """False when a value is NaN or infinite."""
        return all(np.isfinite(array).all() for array in self.arrays.values())


def take(
    model: Any, position: Position, stopper: Any, metrics: Mapping[str, NDArray[Any]]
) -> State:
    """Copies what the model, its optimizer and early stopping hold.

    Args:
        model: Compiled and built `keras.Model`.
        position: How far it has come.
        stopper: `keras.callbacks.EarlyStopping`, `Best`, or None.
        metrics: The training metrics' variables (`metric_values`); validation resets Keras's own.
    """
    arrays = {
        **_values("model", model.variables),
        **_values("optimizer", model.optimizer.variables),
        **metrics,
    }
    if isinstance(stopper, Best):
        arrays |= stopper.arrays()
    else:
        for number, weights in enumerate((stopper and stopper.best_weights) or ()):
            arrays[f"best/{number}"] = np.asarray(weights)
    return State(position=position, arrays=arrays)


def patience(stopper: Any) -> Patience | None:
    """What early stopping remembers; None without it."""
    if stopper is None or isinstance(stopper, Best):
        return None
    return Patience(
        wait=stopper.wait,
        best=None if stopper.best is None else float(stopper.best),
        best_epoch=stopper.best_epoch,
        stopped_epoch=stopper.stopped_epoch,
    )


def metric_values(model: Any) -> dict[str, NDArray[Any]]:
    """Copies of the metrics' variables; of several devices (devices, *shape), summands each."""
    found = {}
    for number, variable in enumerate(model.metrics_variables):
        own = [each.numpy() for each in devices.summands(variable)]
        found[f"metrics/{number}"] = np.array(own if len(own) > 1 else own[0])
    return found


def shared(state: State | None, peers: Any) -> State | None:
    """The state that worker 0 has, on all hosts."""
    from safetensors.numpy import load, save

    text = peers.agree(encode(state.position).decode() if state else None)
    arrays = peers.agree_bytes(save(dict(state.arrays)) if state else b"")
    if text is None:
        return None
    position = decode(text.encode(), Position, uri="The state of worker 0")
    return State(position=position, arrays=load(arrays))


def put_back(model: Any, state: State) -> None:
    """Assigns every variable of the model and of its optimizer.

    Raises:
        DataError: One is not there, or of another shape.
    """
    _assign("model", model.variables, state)
    _assign("optimizer", model.optimizer.variables, state)


def put_back_metrics(model: Any, state: State, peers: devices.Peers) -> None:
    """Assigns the metrics' variables; Keras resets them when an epoch begins."""
    for number, variable in enumerate(model.metrics_variables):
        own, shape = devices.summands(variable), tuple(variable.shape)
        array = _expected(f"metrics/{number}", shape, state)
        each = list(array.reshape(-1, *shape))
        count = len(own) * peers.hosts
        if len(each) != count:  # the run was on another number of devices
            each = [array.reshape(-1, *shape).sum(axis=0), *[np.zeros(shape)] * (count - 1)]
        first = len(own) * peers.index
        for summand, value in zip(own, each[first : first + len(own)], strict=True):
            summand.assign(value)


def put_back_patience(stopper: Any, state: State) -> None:
    """Gives early stopping its memory; Keras resets it when training begins."""
    kept = state.position.patience
    if isinstance(stopper, Best):
        stopper.put_back(state.arrays)
    elif kept is not None:
        for name, value in vars(kept).items():
            setattr(stopper, name, value)
        names = sorted((n for n in state.arrays if n.startswith("best/")), key=_number)
        stopper.best_weights = [state.arrays[name] for name in names] or None


def put_back_weights(model: Any, state: State) -> None:
    """Assigns every variable of the model."""
    _assign("model", model.variables, state)


def _values(group: str, variables: list[Any]) -> dict[str, NDArray[Any]]:
    return {f"{group}/{i}": np.array(variable) for i, variable in enumerate(variables)}


def _assign(group: str, variables: list[Any], state: State) -> None:
    for i, variable in enumerate(variables):
        variable.assign(_expected(f"{group}/{i}", tuple(variable.shape), state, several=False))


def _expected(
    name: str, shape: tuple[int, ...], state: State, *, several: bool = True
) -> NDArray[Any]:
    """An array of a shape, or of `several` such; raises DataError when it is not there."""
    array = state.arrays.get(name)
    extra = 1 if several and array is not None and array.ndim > len(shape) else 0
    if array is None or array.shape[extra:] != shape:
        received = "none" if array is None else array.shape
        raise DataError(
            f"Checkpoint: expected {name} of shape {shape}. Received: {received}.",
            hint="Something else writes below runs/ in the store: use a new --run-id.",
        )
    return array


def _number(name: str) -> int:
    return int(name.rpartition("/")[2])

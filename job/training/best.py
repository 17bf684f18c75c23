"""best: the best weights of each member, and when to stop; early stopping for `Members`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-4
"""Nats by which the loss must fall to count: a network that makes no error lowers it for ever."""

NEVER = float(np.finfo(np.float32).max)
"""The loss before the first epoch; finite, as all that is saved."""


class Best:
    """Follows the validation loss of each member.

    Args:
        model: `job.models.members.Members`.
        patience: Epochs without a lower loss after which a member is done; None for no end.

    Attributes:
        done: True when every member that is still there is done.
    """

    def __init__(self, model: Any, patience: int | None):
        count = model.members
        self._model, self._patience = model, patience
        self._loss = np.full(count, NEVER, np.float32)
        self._wait = np.zeros(count, np.int32)
        self._weights: list[NDArray[Any]] | None = None

    @property
    def done(self) -> bool:
        """Whether nobody is left who might become better."""
        if self._patience is None:
            return False
        there = np.asarray(self._model.active) > 0
        return not (there & (self._wait < self._patience)).any()

    def epoch_ended(self, logs: Mapping[str, Any]) -> None:
        """Keeps the weights of those that are better than ever; who is done stays done."""
        loss = np.asarray(logs["val_member_loss"], np.float32)
        going = self._wait < (self._patience or np.iinfo(np.int32).max)
        better = going & (loss < self._loss - LEAST)
        self._wait = np.where(better, 0, self._wait + going).astype(np.int32)
        self._loss = np.where(better, loss, self._loss)
        if not better.any():
            return
        now = self._model.candidate()
        if self._weights is None:
            self._weights = now
        self._model.improve(self._weights, now, better)

    def choose(self) -> None:
        """Gives the model the best weights; those of the end when nothing was validated."""
        best = self._weights
        self._model.choose(self._model.candidate() if best is None else best)

    def forget(self) -> None:
        """Makes the weights of the end the best."""
        self._weights = None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that must be remembered."""
        weights = {f"best/{i}": value for i, value in enumerate(self._weights or ())}
        return {"member/loss": self._loss, "member/wait": self._wait, **weights}

    def put_back(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Goes on with what `arrays` gave."""
        self._loss, self._wait = arrays["member/loss"].copy(), arrays["member/wait"].copy()
        count = sum(name.startswith("best/") for name in arrays)
        self._weights = [arrays[f"best/{i}"].copy() for i in range(count)] or None

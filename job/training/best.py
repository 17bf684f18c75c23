"""best: the best weights of each member, and when to stop; early stopping for `Members`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-4
"""Nats by which the loss must fall to count: a network that makes no error lowers it for ever."""

STRETCH = 2.0
"""How many times the epochs to its lowest loss a member goes on where `Members.overtrained`."""

SLACK = 0.1
"""By what share its loss may rise meanwhile."""

NEVER = float(np.finfo(np.float32).max)
"""The loss before the first epoch; finite, as all that is saved."""


class Best:
    """Follows the loss of each member on rows to come.

    That is its validation loss; but a share of those rows, `Members.repeated`, will equal rows
    that it was trained on, and on these its loss is that of training. Folds keep equal rows
    together, so that validation does not see it.

    The best weights are those with the lowest loss. Where `Members.overtrained`, a member goes on
    to STRETCH times that epoch, and they are the last ones whose loss was at most SLACK above it:
    an average of networks does best when each of them has learned more than suits it alone.
    Source: Sollich, Krogh, "Learning with ensembles: How over-fitting can be useful", NIPS 1995.

    Args:
        model: `job.models.members.Members`.
        patience: Epochs without a lower loss after which a member is done, at the earliest; None
            for no end.
    """

    def __init__(self, model: Any, patience: int | None):
        count = model.members
        self._model, self._patience = model, patience
        self._loss = np.full(count, NEVER, np.float32)
        self._wait = np.zeros(count, np.int32)
        self._lowest = np.zeros(count, np.int32)
        self._weights: list[NDArray[Any]] | None = None

    @property
    def lowest(self) -> NDArray[np.int32]:
        """(members,) the epoch with the lowest loss, from 1; 0 where none was validated."""
        return self._lowest

    @property
    def done(self) -> bool:
        """Whether every member that was not dropped is done."""
        there = np.asarray(self._model.active) > 0
        return not (there & self._going()).any()

    def _going(self) -> NDArray[np.bool_]:
        """(members,) whether a member may still become better."""
        if self._patience is None:
            return np.ones_like(self._wait, np.bool_)
        more = (STRETCH - 1) * self._lowest if self._model.overtrained else 0
        return self._wait < np.maximum(self._patience, more)

    def epoch_ended(self, logs: Mapping[str, Any]) -> None:
        """Keeps the weights of the members that are better than before; a done one stays done.

        Args:
            logs: Keras's, with (members,) `val_member_loss` and `member_loss`, nats.
        """
        held_out, trained = (
            np.asarray(logs[name], np.float32) for name in ("val_member_loss", "member_loss")
        )
        loss = held_out + np.float32(self._model.repeated) * (trained - held_out)
        going = self._going()
        better = going & (loss < self._loss - LEAST)
        epoch = self._lowest + self._wait + 1  # of a member that goes on: it waits since the lowest
        self._lowest = np.where(better, epoch, self._lowest).astype(np.int32)
        self._wait = np.where(better, 0, self._wait + going).astype(np.int32)
        self._loss = np.where(better, loss, self._loss)
        if self._model.overtrained:
            better |= going & (loss / (1 + SLACK) <= self._loss)
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
        counts = {"member/wait": self._wait, "member/lowest": self._lowest}
        return {"member/loss": self._loss, **counts, **weights}

    def put_back(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Goes on with what `arrays` gave."""
        self._loss, self._wait = arrays["member/loss"].copy(), arrays["member/wait"].copy()
        # Earlier versions wrote no epoch of the lowest loss.
        self._lowest = np.array(arrays.get("member/lowest", np.zeros_like(self._wait)))
        count = sum(name.startswith("best/") for name in arrays)
        self._weights = [arrays[f"best/{i}"].copy() for i in range(count)] or None

"""calibration: shares of families of networks, one temperature, and the validation of both.

Sources: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, for
the temperature; Dempster, Laird, Rubin, "Maximum Likelihood from Incomplete Data via the EM
Algorithm", 1977, for the shares of a mixture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from job.data.place import average
from job.models.members import EPSILON

ENOUGH = 100
"""Rows below which neither shares nor a temperature are fitted."""

MOST = 1 << 18
"""Rows that a temperature is fitted on, at most."""

ROUNDS = 200
"""Of the EM algorithm; each brings the shares nearer to the only maximum."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a model says of rows that it was not trained on.

    Attributes:
        kind: held-out: no member was trained on the rows. out-of-fold: each row is scored by the
            independent members that were not trained on it.
        rows: (n,) int64, rows of `dataset.train`.
        probabilities: (n, classes), float32, after the temperature.
        temperature: The published model's; 1 for none.
        families: Family → its share in the mean; empty for one family.
    """

    kind: Literal["held-out", "out-of-fold"]
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    temperature: float
    families: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ValidationScores:
    """What `metrics.json` and the report say of validation.

    Attributes:
        kind: As in `Validation`.
        rows: How many were scored.
        loss: Mean cross-entropy of the published weights, nats.
        accuracy: Share of the rows whose most probable class is the true one.
        temperature: The published model's; 1 for none.
        families: Family → its share in the mean; empty for one family.
    """

    kind: Literal["held-out", "out-of-fold"]
    rows: int
    loss: float
    accuracy: float
    temperature: float
    families: Mapping[str, float] = field(default_factory=dict)


def scores(validation: Validation, y: NDArray[np.int32]) -> ValidationScores:
    """Scores a validation.

    Args:
        validation: What a model says.
        y: The classes of all training rows, as indices.
    """
    rows, said = validation.rows, validation.probabilities
    return ValidationScores(
        kind=validation.kind,
        rows=len(rows),
        loss=average(lambda some: losses(said[some], y[rows[some]]), len(rows)),
        accuracy=average(lambda some: said[some].argmax(axis=1) == y[rows[some]], len(rows)),
        temperature=validation.temperature,
        families=validation.families,
    )


def family_shares(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """(families,) the shares of the mean under which the true classes are most probable.

    Args:
        probabilities: (rows, families, classes); below ENOUGH rows the shares are equal.
        y: (rows,) class indices.
    """
    rows, families, _ = probabilities.shape
    shares = np.full(families, 1 / families)
    if rows < ENOUGH:
        return shares
    true = probabilities[np.arange(rows), :, y].astype(np.float64).clip(EPSILON)
    for _ in range(ROUNDS):
        parts = shares * true
        shares = (parts / parts.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def temperature(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> float:
    """The temperature that lowers the loss; 1 unless it does so on rows that did not fit it.

    Args:
        probabilities: (rows, classes).
        y: (rows,) class indices.
    """
    if len(y) < ENOUGH:
        return 1.0
    stride = -(-len(y) // MOST)
    probabilities, y = probabilities[::stride], y[::stride]
    half = np.arange(len(y)) % 2
    fitted = [_fit(probabilities[half != part], y[half != part]) for part in (0, 1)]
    crossed = sum(
        loss(scaled(probabilities[half == part], fitted[part]), y[half == part])
        * (half == part).mean()
        for part in (0, 1)
    )
    return _fit(probabilities, y) if crossed < loss(probabilities, y) else 1.0


def scaled(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """(rows, classes) softmax of the logarithms over the temperature."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.clip(probabilities, EPSILON, 1.0)) / temperature
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return shares


def loss(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> float:
    """Mean cross-entropy, nats."""
    return float(losses(probabilities, y).mean())


def losses(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> NDArray[np.float64]:
    """(rows,) the cross-entropy of each row, nats."""
    true = probabilities[np.arange(len(y)), y].astype(np.float64)
    return -np.log(np.clip(true, EPSILON, 1.0))


def _fit(probabilities: NDArray[np.float32], y: NDArray[np.int32]) -> float:
    """The best temperature, by a golden-section search of its logarithm; there is one minimum."""
    low, high, ratio = np.log(0.1), np.log(4.0), (5**0.5 - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(scaled(probabilities, np.exp(left)), y) < loss(
            scaled(probabilities, np.exp(right)), y
        ):
            high = right
        else:
            low = left
    return float(np.float32(np.exp((low + high) / 2)))

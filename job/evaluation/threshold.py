"""Decision threshold for two classes: chosen on validation rows, applied to probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from job.config.training import parse_threshold
from job.data.place import beside, blocks
from job.errors import UsageError
from job.evaluation.scores import Indices, Probabilities, Ranking


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """How a class is decided for, of two.

    Attributes:
        label: The class that is decided for from the threshold on.
        value: The lowest probability of it at which it is, 0 to 1.
        rule: How the value was chosen, as `--threshold` has it.
        reached: Whether the validation rows allowed what the rule asks for.
    """

    label: int | str
    value: float
    rule: str
    reached: bool = True


def positive_class(counts: NDArray[np.int64] | NDArray[np.float64]) -> int:
    """The class of two that a threshold is about: the rarer one, the second of equal ones.

    Args:
        counts: (2,); training rows of each class, or their shares.
    """
    return 0 if counts[0] < counts[1] else 1


def choose(
    rule: str,
    probabilities: Probabilities,
    y: Indices,
    classes: Sequence[int | str],
    positive: int,
) -> Threshold:
    """The threshold that a rule gives on validation rows.

    Args:
        rule: f1 (largest F1), recall=R (highest threshold that finds that share), precision=P
            (lowest that keeps it), cost=A:B (cheapest, when a missed row costs A and a false
            alarm B), or the threshold itself.
        probabilities: (rows, 2), float32.
        y: (rows,); the true classes.
        classes: The two labels.
        positive: Index of the class that the rule is about.

    Raises:
        UsageError: The rule needs rows, and there are none.
    """
    kind, numbers = parse_threshold(rule)
    if kind == "value":
        return Threshold(label=classes[positive], value=numbers[0], rule=rule)
    if not len(y):
        raise UsageError(
            f"--threshold: expected validation rows to choose it on. Received: {rule!r}, and none.",
            hint="Hold out some rows with --validation-split 0.2, or name the threshold itself.",
        )
    ranking = Ranking(probabilities[:, positive], y, positive)
    true, false = ranking.counts()
    missed = true[-1] - true
    reached = True
    if kind == "f1":
        best = int((2 * true / np.maximum(2 * true + false + missed, 1)).argmax())
    elif kind == "cost":
        best = int((numbers[0] * missed + numbers[1] * false).argmin())
    elif kind == "recall":
        best = int((true >= numbers[0] * true[-1]).argmax())
    else:
        precision = true / (true + false)
        enough = np.flatnonzero(precision >= numbers[0])
        reached = len(enough) > 0
        best = int(enough[-1] if reached else precision.argmax())
    value = _between(ranking.thresholds, best)
    return Threshold(label=classes[positive], value=value, rule=rule, reached=reached)


def decide(
    probabilities: Probabilities, classes: Sequence[int | str], threshold: Threshold | None
) -> NDArray[np.int64]:
    """(rows,): the class of each row; the most probable one when there is no threshold."""
    found = beside(probabilities).array((len(probabilities),), np.int64, "answers")
    for some in blocks(len(found)):
        if threshold is None:
            probabilities[some].argmax(axis=1, out=found[some])
        else:
            positive = list(classes).index(threshold.label)
            above = probabilities[some, positive] >= np.float32(threshold.value)
            found[some] = np.where(above, positive, 1 - positive)
    return found


def _between(thresholds: NDArray[np.float32], best: int) -> float:
    """A round number between one score and the next lower one, so that rounding moves no row."""
    high = float(thresholds[best])
    low = float(thresholds[best + 1]) if best + 1 < len(thresholds) else 0.0
    for digits in range(1, 8):
        value = round((low + high) / 2, digits)
        if low < value <= high:
            return value
    return high

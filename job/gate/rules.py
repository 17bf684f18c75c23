"""Rules of the gate, and the findings that protect against a useless model; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.config.gate import Metric, WhenUnsure
from job.data.dataset import Classes
from job.data.findings import Finding
from job.data.place import counts
from job.evaluation import paired, scores
from job.evaluation.paired import Answers
from job.evaluation.scores import Indices

SHUFFLED = 0.08
"""Share of the labels that must look shuffled; an ordinary night stays below 0.05, see README."""

LAST, FEWEST = 30, 6
"""Versions of which the trend is looked at, and at least so many."""

SURE = 2.326
"""The normal quantile at which a model counts as better than one that knows nothing: 99 %."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a model is promoted.

    Attributes:
        metric: What versions are compared by.
        min_accuracy: Lowest test accuracy, 0 to 1; None for no floor.
        min_recall: Lowest recall of any class, 0 to 1; None for no floor.
        margin: What a model may lose against another and count as good, in the metric's units;
            None for what the test rows can resolve.
        confidence: The probability that an equal model is not rejected.
        when_unsure: What to do when the test rows cannot tell.
        allow: Codes of findings that do not keep a model from being promoted.
    """

    metric: Metric = "accuracy"
    min_accuracy: float | None = None
    min_recall: float | None = None
    margin: float | None = None
    confidence: float = 0.95
    when_unsure: WhenUnsure = "promote"
    allow: Sequence[str] = ()

    @classmethod
    def of(cls, config: Config, metric: Metric) -> "Rules":
        """The rules that the options set."""
        gate = config.gate
        return cls(
            metric=metric,
            min_accuracy=gate.min_accuracy,
            min_recall=gate.min_recall,
            margin=gate.margin,
            confidence=gate.confidence,
            when_unsure=gate.when_unsure,
            allow=config.data.allow,
        )


def useless(
    metric: Metric,
    answers: Answers,
    y: Indices,
    classes: Classes,
    shares: NDArray[np.float64],
) -> list[Finding]:
    """Findings about a model that is of no use: a class never found, no better than a constant.

    Args:
        metric: What versions are compared by.
        answers: The model's, on the test rows.
        y: (rows,); the true classes.
        classes: The labels.
        shares: (classes,); each class's share of the training rows.

    It is better than the constant when its score is above the constant's, and either that or its
    ranking of the rows is so with 99 % confidence.
    """
    predicted = counts(answers.predicted, len(classes))
    support = counts(y, len(classes))
    found = [
        Finding(code="class-never-found", column=str(classes[k]), count=int(support[k]), of=len(y))
        for k in np.flatnonzero((predicted == 0) & (support > 0))
    ]
    probabilities, constant = scores.constant(len(y), shares)
    rival = Answers(probabilities=probabilities, predicted=constant)
    lead = paired.difference(metric, answers, rival, y, SURE)
    known = lead.low > 0 or paired.rank_evidence(answers.probabilities, y) > SURE
    if lead.value <= 0 or not known:
        found.append(
            Finding(
                code="no-better-than-baseline",
                column=str(classes[int(shares.argmax())]),
                count=len(y),
                values=(scores.TITLES[metric], f"{lead.ours:.4f}", f"{lead.theirs:.4f}"),
            )
        )
    return found


def shuffled(training_auc: float | None, champions: float | None) -> list[Finding]:
    """A finding when the training labels look shuffled, at least in part.

    The labels of a share s of the rows that say nothing about the rows take the share s from
    2 AUC - 1 (Somers' D) on the training rows, whatever the model's threshold or calibration.

    Args:
        training_auc: ROC AUC of the new model on its training and validation rows.
        champions: The same of the champion, made with the same options, on its own rows; None
            when it is not on record or was made with others.
    """
    if training_auc is None or champions is None or champions <= 0.5:
        return []
    share = 1 - (2 * training_auc - 1) / (2 * champions - 1)
    if share <= SHUFFLED or not math.isfinite(share):
        return []
    values = (f"{training_auc:.4f}", f"{champions:.4f}")
    percent = round(100 * min(share, 1))
    return [Finding(code="shuffled-labels", count=percent, of=100, values=values)]


def declining(trail: Sequence[float], record: Sequence[float], level: float) -> list[Finding]:
    """A finding when the last versions became worse one after another.

    Each step may be too small to show between two versions; their trend is not. Both ways of
    measuring it must show it: the first is no trend of the test rows, but the chance of every step
    adds up when each night has other test rows; the second is the other way round.

    Args:
        trail: How good each version was, oldest first, as the sum of its steps from one version to
            the next, each on the same rows; the last is the new one.
        record: How good each was on the test rows of its own night, higher is better.
        level: The probability of a finding when there is no trend.

    Sources: the slope's t test of a least-squares line; Student's quantile by Fisher's expansion
        (Abramowitz, Stegun, Handbook of Mathematical Functions, 26.7.5).
    """
    slopes = [_fall(values[-LAST:], level) for values in (trail, record)]
    if not all(slopes):
        return []
    count = min(len(trail), LAST)
    return [Finding(code="slow-decline", count=count, values=(f"{slopes[0]:.4g}",))]


def _fall(values: Sequence[float], level: float) -> float:
    """By how much values fall from one to the next; 0 when that may be chance."""
    last = np.asarray(values, dtype=np.float64)
    count = len(last)
    if count < FEWEST:
        return 0.0
    order = np.arange(count) - (count - 1) / 2
    slope = float(order @ last / (order @ order))
    rest = last - last.mean() - slope * order
    error = math.sqrt(float(rest @ rest) / (count - 2) / float(order @ order))
    return -slope if -slope > max(student(1 - level, count - 2) * error, 0.0) else 0.0


def student(level: float, freedom: int) -> float:
    """The quantile of Student's t distribution, to a hundredth from four degrees of freedom on."""
    z = NormalDist().inv_cdf(level)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3

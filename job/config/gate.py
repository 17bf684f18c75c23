"""Options about the gate: when a model becomes champion."""

from dataclasses import dataclass
from typing import Literal

from job.config.option import Options, option

Metric = Literal["accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1"]
WhenUnsure = Literal["promote", "keep"]


@dataclass(frozen=True, kw_only=True)
class GateOptions(Options):
    """The conditions of promotion."""

    min_accuracy: float | None = option(
        None,
        "Lowest test accuracy at which the model is promoted.",
        expects="a number from 0 to 1",
        valid=lambda v: 0 <= v <= 1,
        everyday=True,
    )
    min_recall: float | None = option(
        None,
        "Lowest recall of any class at which the model is promoted.",
        expects="a number from 0 to 1",
        valid=lambda v: 0 <= v <= 1,
    )
    metric: Metric | None = option(
        None,
        "What versions are compared by; the champion's by default, or what suits the classes.",
    )
    margin: float | None = option(
        None,
        "What the model may lose in the metric; by default what the test rows can resolve.",
        expects="a number of at least 0",
        valid=lambda v: 0 <= v < float("inf"),
        recorded=0.005,
    )
    when_unsure: WhenUnsure = option(
        "promote", "What to do when the test rows cannot tell: promote, or keep the champion."
    )
    confidence: float = option(
        0.95,
        "The probability that a model as good as the others is not rejected.",
        expects="a number from 0.5 to below 1",
        valid=lambda v: 0.5 <= v < 1,
    )
    rejection_ok: bool = option(
        False, "End with exit code 0 when the model is published and not promoted."
    )

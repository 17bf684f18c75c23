"""Options about the gate: when a model becomes champion."""

from dataclasses import dataclass

from job.config.option import Options, option


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
    margin: float = option(
        0.005,
        "Accuracy that the model may lose against the champion and the best version before it.",
        expects="a number from 0 to below 1",
        valid=lambda v: 0 <= v < 1,
    )
    confidence: float = option(
        0.95,
        "How sure it must be that no more than the margin is lost.",
        expects="a number from 0.5 to below 1",
        valid=lambda v: 0.5 <= v < 1,
    )
    rejection_ok: bool = option(
        False, "End with exit code 0 when the model is published and not promoted."
    )

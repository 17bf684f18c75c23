"""decide(...) → Verdict: is the model good enough to be promoted? Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision and its reasons.

    Attributes:
        promote: True when the model may become the champion.
        reasons: One sentence for each rule that was applied.
    """

    promote: bool
    reasons: tuple[str, ...]


def decide(*, accuracy: float, min_accuracy: float | None) -> Verdict:
    """Applies the absolute floor.

    Args:
        accuracy: Test accuracy, 0 to 1.
        min_accuracy: The floor, 0 to 1, or None for no floor.
    """
    if min_accuracy is None:
        return Verdict(promote=True, reasons=("No accuracy floor was set.",))
    reached = accuracy >= min_accuracy
    reason = (
        f"Test accuracy {accuracy:.4f} {'reaches' if reached else 'is below'} "
        f"the floor of {min_accuracy:.4f}."
    )
    return Verdict(promote=reached, reasons=(reason,))

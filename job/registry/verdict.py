"""The gate's verdict on a version, as its manifest stores it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["champion", "best"]
"""The reigning champion, or the best version that ever reigned and was not rolled back."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        version: The rival's number.
        role: Why it was asked.
        rows: Test rows that both were asked about.
        gained: Rows that only the challenger names correctly.
        lost: Rows that only the rival names correctly.
        accuracy: The rival's accuracy on these rows.
        difference: The challenger's accuracy minus the rival's.
        lower_bound: One-sided lower confidence bound of the difference.
        passed: True when the bound is above minus the margin.
    """

    version: int
    role: Role
    rows: int
    gained: int
    lost: int
    accuracy: float
    difference: float
    lower_bound: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision and its reasons.

    Attributes:
        promote: True when the model may become the champion.
        reasons: One sentence for each rule that was applied.
        champion: The version that reigned when it was decided, or None when there was none.
        comparisons: The figures behind the sentences.
    """

    promote: bool
    reasons: tuple[str, ...]
    champion: int | None = None
    comparisons: tuple[Comparison, ...] = ()

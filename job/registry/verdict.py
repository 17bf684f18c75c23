"""The gate's verdict on a version, as its manifest stores it."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["champion", "best"]
"""The reigning champion, or the best version that ever reigned and was not rolled back."""

Outcome = Literal["better", "no worse", "worse", "cannot tell"]


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
        difference: How much better the challenger is, in the metric's units.
        lower_bound: Lower end of the difference's confidence interval.
        passed: Whether the comparison allows a promotion.
        metric: What was compared.
        score: The rival's score in this metric on these rows; None in old verdicts.
        upper_bound: Upper end of the interval; None in old verdicts.
        resolution: The smallest difference that these rows show four times in five.
        outcome: What the interval shows; None in old verdicts.
        rows_needed: Test rows that would show a difference of this size; None when it was shown,
            or when there was no difference.
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
    metric: str = "accuracy"
    score: float | None = None
    upper_bound: float | None = None
    resolution: float | None = None
    outcome: Outcome | None = None
    rows_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision and its reasons.

    Attributes:
        promote: True when the model may become the champion.
        reasons: One sentence for each rule that was applied.
        champion: The version that reigned when it was decided, or None when there was none.
        comparisons: The figures behind the sentences.
        holds: Codes of the findings that keep it from being promoted; `--allow` accepts them.
    """

    promote: bool
    reasons: tuple[str, ...]
    champion: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    holds: tuple[str, ...] = ()

"""decide(...) → Verdict: is the model good enough to be promoted? Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from job.registry.verdict import Comparison, Role, Verdict


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a model is promoted.

    Attributes:
        min_accuracy: Lowest test accuracy, 0 to 1; None for no floor.
        min_recall: Lowest recall of any class, 0 to 1; None for no floor.
        margin: Accuracy, 0 to 1, that a model may lose against another and count as good.
        confidence: How sure of that one must be: the level of the one-sided bound.
    """

    min_accuracy: float | None = None
    min_recall: float | None = None
    margin: float = 0.005
    confidence: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another version and the challenger on the same test rows.

    Attributes:
        version: Its number.
        role: Why it is asked.
        rows: Test rows that both were asked about.
        gained: Rows that only the challenger names correctly.
        lost: Rows that only the rival names correctly.
        accuracy: The rival's accuracy on these rows.
        obstacle: Why the two cannot be compared; empty when they can.
    """

    version: int
    role: Role
    rows: int = 0
    gained: int = 0
    lost: int = 0
    accuracy: float = 0.0
    obstacle: str = ""


def decide(
    *,
    accuracy: float,
    recalls: Mapping[int | str, float],
    rivals: Sequence[Rival] = (),
    objection: str | None = None,
    rules: Rules,
) -> Verdict:
    """Applies the floors, and compares with the rivals.

    Args:
        accuracy: Test accuracy, 0 to 1.
        recalls: Recall of each class that has test rows, 0 to 1.
        rivals: The champion, if there is one, and the best version before it, if another.
        objection: What speaks against it whatever its scores, in a sentence.
        rules: The floors, the margin and the level.
    """
    findings = _floors(accuracy, recalls, rules)
    if objection:
        findings.append((False, objection))
    comparisons = []
    for rival in rivals:
        name = f"the {rival.role}, version {rival.version}"
        if rival.obstacle:
            findings.append((False, f"Not comparable with {name}: {rival.obstacle}."))
            continue
        comparison = compare(rival, rules)
        comparisons.append(comparison)
        findings.append((comparison.passed, _told(comparison, name, rules)))
    return Verdict(
        promote=all(passed for passed, _ in findings),
        reasons=tuple(reason for _, reason in findings)
        or ("No floor is set, and there is no champion to beat.",),
        champion=next((rival.version for rival in rivals if rival.role == "champion"), None),
        comparisons=tuple(comparisons),
    )


def compare(rival: Rival, rules: Rules) -> Comparison:
    """The paired difference in accuracy, and whether it is surely above minus the margin."""
    bound = lower_bound(rival.gained, rival.lost, rival.rows, rules.confidence)
    return Comparison(
        version=rival.version,
        role=rival.role,
        rows=rival.rows,
        gained=rival.gained,
        lost=rival.lost,
        accuracy=rival.accuracy,
        difference=(rival.gained - rival.lost) / rival.rows,
        lower_bound=bound,
        passed=bound > -rules.margin,
    )


def lower_bound(gained: int, lost: int, rows: int, confidence: float) -> float:
    """The one-sided lower confidence bound of a paired difference of two proportions.

    It is Tango's score interval: the smallest difference that a score test does not reject, so
    that it stays sensible when few rows, or none, tell the two apart.

    Args:
        gained: Pairs with a success in the first only.
        lost: Pairs with a success in the second only.
        rows: All pairs, at least 1.
        confidence: The level, above 0.5 and below 1.

    Source: Tango, "Equivalence test and confidence interval for the difference in proportions
        for the paired-sample design", Statistics in Medicine 17 (1998), 891–908.
    """
    z = NormalDist().inv_cdf(confidence)
    low, high = -1.0, (gained - lost) / rows
    while high - low > 1e-9:  # the statistic falls as the difference rises
        middle = (low + high) / 2
        if _score(gained, lost, rows, middle) > z:
            low = middle
        else:
            high = middle
    return low


def _score(gained: int, lost: int, rows: int, difference: float) -> float:
    """How far the observed difference is above an assumed one, in standard errors."""
    a = 2 * rows
    b = (2 * rows - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    share_lost = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # the constrained estimate
    variance = rows * max(2 * share_lost + difference * (1 - difference), 0.0)
    distance = gained - lost - rows * difference
    return distance / math.sqrt(variance) if variance else math.copysign(math.inf, distance)


def _floors(
    accuracy: float, recalls: Mapping[int | str, float], rules: Rules
) -> list[tuple[bool, str]]:
    findings = []
    if rules.min_accuracy is not None:
        passed = accuracy >= rules.min_accuracy
        words = "reaches" if passed else "is below"
        told = f"Test accuracy {accuracy:.4f} {words} the floor of {rules.min_accuracy:.4f}."
        findings.append((passed, told))
    if rules.min_recall is not None:
        label, worst = min(recalls.items(), key=lambda item: item[1])
        passed = worst >= rules.min_recall
        words = "reaches" if passed else "is below"
        told = f"The lowest recall, {worst:.4f} of class {str(label)[:60]}, {words} the floor of "
        findings.append((passed, told + f"{rules.min_recall:.4f}."))
    return findings


def _told(comparison: Comparison, name: str, rules: Rules) -> str:
    """The comparison in a sentence, in percentage points."""
    return (
        f"Against {name}, on the same {comparison.rows:,} test rows: "
        f"{100 * comparison.difference:+.2f} points of accuracy ({comparison.gained:,} rows "
        f"gained, {comparison.lost:,} lost), at least {100 * comparison.lower_bound:+.2f} with "
        f"{100 * rules.confidence:g} % confidence, which is "
        f"{'above' if comparison.passed else 'not above'} {-100 * rules.margin:+.2f}."
    )

"""decide(...) → Verdict: whether a version may become the champion. Pure."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from job.data.findings import Finding, sentence
from job.evaluation import paired
from job.evaluation.paired import Answers, Difference
from job.evaluation.scores import TITLES, Indices
from job.gate import rules as rule
from job.gate.rules import Rules
from job.registry.verdict import Comparison, Outcome, Role, Verdict

POWER = NormalDist().inv_cdf(0.8)
"""A resolution is a difference that is found four times in five."""

CHAMPION, TREND, BEST = 0.2, 0.2, 0.6
"""Parts of the doubt, 1 - confidence: of the comparison with the champion, of the trend of the last
champions, and of the comparison with the best."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another version on the test rows.

    Attributes:
        version: Its number.
        role: Why it is compared.
        answers: What it answered; None when there is an obstacle.
        obstacle: Why the two cannot be compared; empty when they can.
    """

    version: int
    role: Role
    answers: Answers | None = None
    obstacle: str = ""


def decide(
    *,
    answers: Answers,
    y: Indices,
    recalls: Mapping[int | str, float],
    rivals: Sequence[Rival] = (),
    reigns: int = 1,
    trail: Sequence[float] = (),
    record: Sequence[float] = (),
    findings: Sequence[Finding] = (),
    objection: str | None = None,
    rules: Rules,
) -> Verdict:
    """Applies the floors and the findings, and compares with the rivals.

    Args:
        answers: The challenger's, on the test rows.
        y: (rows,); the true classes.
        recalls: Recall of each class that has test rows, 0 to 1.
        rivals: The champion, if there is one, and the best version before it, if another.
        reigns: Number of versions of which the best one was chosen.
        trail: How good the champions were, oldest first, in the metric's units against the first
            of them; the last is the one that reigns.
        record: The scores on record of the same versions and of the new one, higher is better.
        findings: What keeps a version from being promoted unless it is allowed.
        objection: Why it is not promoted whatever its scores, in a sentence.
        rules: The floors, the margin and the level.
    """
    accuracy = answers.accuracy(y)
    applied = _floors(accuracy, recalls, rules)
    comparisons = []
    for rival in rivals:
        name = f"the {rival.role}, version {rival.version}"
        if rival.answers is None:
            applied.append((False, f"Not comparable with {name}: {rival.obstacle}."))
            continue
        comparison = compare(answers, rival, y, rules, reigns)
        comparisons.append(comparison)
        applied.append((comparison.passed, _reason(comparison, name, rules)))
        if rival.role == "champion" and trail:
            seen = [*trail, trail[-1] + comparison.difference]
            findings = [*findings, *rule.declining(seen, record, TREND * (1 - rules.confidence))]
    held = [finding for finding in findings if finding.code not in rules.allow]
    allowed = [finding for finding in findings if finding not in held]
    applied += [(True, f"Accepted by --allow {each.code}: {sentence(each)}") for each in allowed]
    applied += [(False, sentence(finding)) for finding in held]
    if objection:
        applied.append((False, objection))
    return Verdict(
        promote=all(passed for passed, _ in applied),
        reasons=tuple(reason for _, reason in applied)
        or ("No floor is set, and there is no champion to beat.",),
        champion=next((rival.version for rival in rivals if rival.role == "champion"), None),
        comparisons=tuple(comparisons),
        holds=tuple(dict.fromkeys(finding.code for finding in held)),
    )


def compare(
    answers: Answers, rival: Rival, y: Indices, rules: Rules, reigns: int = 1
) -> Comparison:
    """The paired difference to a rival, and what its interval shows.

    Raises:
        ValueError: The rival has no answers.
    """
    if rival.answers is None:
        raise ValueError(f"Expected a rival with answers. Received: {rival.obstacle!r}.")
    z = quantile(rules.confidence, rival.role, reigns)
    gained, lost = paired.discordant(answers, rival.answers, y)
    seen = paired.difference(rules.metric, answers, rival.answers, y, z).widened(
        z * paired.retraining(rules.metric, answers, rival.answers, y)
    )
    resolution = seen.half_width * (1 + POWER / z) if z else 0.0
    outcome = _outcome(seen, resolution, rules.margin)
    return Comparison(
        version=rival.version,
        role=rival.role,
        rows=len(y),
        gained=gained,
        lost=lost,
        accuracy=rival.answers.accuracy(y),
        difference=seen.value,
        lower_bound=seen.low,
        passed=outcome in ("better", "no worse")
        or (outcome == "cannot tell" and rules.when_unsure == "promote"),
        metric=rules.metric,
        score=seen.theirs,
        upper_bound=seen.high,
        resolution=resolution,
        outcome=outcome,
        rows_needed=_rows_needed(seen, resolution, rules.margin, len(y))
        if outcome == "cannot tell"
        else None,
    )


@functools.cache
def quantile(confidence: float, role: Role, reigns: int) -> float:
    """The normal quantile of a comparison's interval.

    An equal model is rejected by both comparisons together with a probability of at most 1 -
    confidence, of which each gets its part. The best's quantile allows for the luckiest of many
    looking better than it is: it is that of the largest of `reigns` differences which have the new
    model in common.

    Source: Dunnett, "A multiple comparison procedure for comparing several treatments with a
        control", JASA 50 (1955), for known variances.
    """
    if role == "champion":
        return NormalDist().inv_cdf(1 - CHAMPION * (1 - confidence))
    level = 1 - BEST * (1 - confidence)
    ours = np.linspace(-8, 8, 801)
    weights = np.exp(-(ours**2) / 2) / np.exp(-(ours**2) / 2).sum()
    low, high = 0.0, 20.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        others = np.array([NormalDist().cdf(x + middle) for x in ours]) ** reigns
        low, high = (middle, high) if float(weights @ others) < level else (low, middle)
    return max(low, 1e-6) / math.sqrt(2)


def _outcome(seen: Difference, resolution: float, margin: float | None) -> Outcome:
    """What the interval shows; a loss within a given margin is never worse."""
    if seen.low > 0:
        return "better"
    allowed = resolution if margin is None else margin
    if seen.value == 0 == seen.half_width or seen.low > -allowed:
        return "no worse"
    if seen.high < 0 and seen.value < -(margin or 0.0):
        return "worse"
    return "cannot tell"


def _rows_needed(
    seen: Difference, resolution: float, margin: float | None, rows: int
) -> int | None:
    """The number of rows whose resolution is the given margin, or else the difference seen."""
    size = max(abs(seen.value), margin or 0.0)
    return math.ceil(rows * (resolution / size) ** 2) if size else None


def _floors(
    accuracy: float, recalls: Mapping[int | str, float], rules: Rules
) -> list[tuple[bool, str]]:
    applied = []
    if rules.min_accuracy is not None:
        passed = accuracy >= rules.min_accuracy
        words = "reaches" if passed else "is below"
        text = f"Test accuracy {accuracy:.4f} {words} the floor of {rules.min_accuracy:.4f}."
        applied.append((passed, text))
    if rules.min_recall is not None:
        label, worst = min(recalls.items(), key=lambda item: item[1])
        passed = worst >= rules.min_recall
        words = "reaches" if passed else "is below"
        text = f"The lowest recall, {worst:.4f} of class {str(label)[:60]}, {words} the floor of "
        applied.append((passed, text + f"{rules.min_recall:.4f}."))
    return applied


def _reason(comparison: Comparison, name: str, rules: Rules) -> str:
    """The comparison in a sentence; shares in percentage points."""
    points = comparison.metric != "log_loss"
    scale, unit = (100, " points") if points else (1, " nats")
    digits = 2 if points else 4

    def signed(value: float | None) -> str:
        return f"{scale * (value or 0.0):+.{digits}f}"

    text = (
        f"{str(comparison.outcome).capitalize()} {_against(comparison)} {name}, on the same "
        f"{comparison.rows:,} test rows: {signed(comparison.difference)}{unit} of "
        f"{TITLES[comparison.metric]} ({comparison.gained:,} rows gained, {comparison.lost:,} "
        f"lost), between {signed(comparison.lower_bound)} and {signed(comparison.upper_bound)}"
        f"{_allowed(rules.margin)}."
    )
    if comparison.outcome != "cannot tell":
        return text
    needed = comparison.rows_needed
    rows = f" About {needed:,} test rows would tell." if needed else ""
    decided = "promotes" if rules.when_unsure == "promote" else "keeps the champion"
    return f"{text}{rows} --when-unsure {rules.when_unsure} {decided}."


def _allowed(margin: float | None) -> str:
    return "" if margin is None else f", with --margin {margin:g}"


def _against(comparison: Comparison) -> str:
    return "against" if comparison.outcome == "cannot tell" else "than"

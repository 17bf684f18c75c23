"""How the report says it: labels, numbers and findings as words; pure.

The sentences are plain text. They serve as captions and as the plots' alternative texts, in the
page and in the model card, so that both say the same.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from job.config import ModelOptions
from job.config.training import parse_threshold
from job.evaluation.metrics import Metrics
from job.evaluation.scores import TITLES, better_by

if TYPE_CHECKING:
    from job.config.gate import Metric
    from job.evaluation.curves import Curves
    from job.evaluation.importance import Importance
    from job.registry.manifest import Manifest
    from job.training.calibration import ValidationScores
    from job.training.state import EpochResult

SHARES = frozenset({"accuracy", "balanced_accuracy", "f1"})
"""Scores that are shown in percent."""

_MLP = "multilayer perceptron"

_BIDI_CONTROLS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often one class was taken for another; share is of the true class's test rows."""

    true: int | str
    said: int | str
    count: int
    share: float


def shown(label: object, limit: int = 60) -> str:
    """A label as one short line: no control characters, no hidden change of direction."""
    text = "".join("\ufffd" if _unsafe(c) else c for c in " ".join(str(label).split()))
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    # FIRST STRONG ISOLATE keeps a right-to-left label from reordering the sentence around it.
    return (text if text.isascii() else f"\u2068{text}\u2069") or "(empty)"


def capitalised(name: str) -> str:
    """A name at the head of a column: its first letter large, the others as they are."""
    return name[:1].upper() + name[1:]


def cell(value: object) -> str:
    """A value of a table; a dash when it is missing."""
    if value is None:
        return "–"
    return shown(f"{value:.6g}" if isinstance(value, float) else value, limit=40)


def quoted(label: object) -> str:
    """A label inside a sentence."""
    return f"“{shown(label)}”"


def said_and_true(said: object, true: object) -> str:
    """The caption of a picture in a small space."""
    if said == true:
        return shown(true, limit=16)
    return f"said {shown(said, limit=8)}, was {shown(true, limit=8)}"


def markdown(text: str) -> str:
    """Text that Markdown renders as it stands, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>|~&$])", r"\\\1", text)


def yaml(value: str | float) -> str:
    """A scalar of a YAML document.

    JSON will not do: YAML 1.1 takes 1e-07 for a string and a surrogate pair for two characters.
    """
    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    text = value.encode(errors="replace").decode()
    plain = (c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(plain) + '"'


def count(number: int) -> str:
    """A count with thousands separators."""
    return f"{number:,}"


def percent(share: float, digits: int = 2) -> str:
    """A share in percent; neither a lone mistake nor a lone hit is rounded away."""
    step = 10.0 ** -(digits + 2)
    if 0 < share < step / 2:
        return f"<{step:.{digits}%}"
    if 1 - step / 2 < share < 1:
        return f">{1 - step:.{digits}%}"
    return f"{share:.{digits}%}"


def interval(low: float, high: float) -> str:
    """Both ends of an interval in percent."""
    return f"{low * 100:.2f}–{high * 100:.2f}%"


def duration(seconds: float) -> str:
    """Seconds to three figures or so; minutes and hours from two minutes on."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def top_confusions(metrics: Metrics, limit: int = 8) -> tuple[Confusion, ...]:
    """The most frequent mistakes, most frequent first, then in the order of the classes."""
    found = [
        (-number, true, said)
        for true, row in enumerate(metrics.confusion_matrix)
        for said, number in enumerate(row)
        if number and true != said
    ]
    return tuple(
        Confusion(
            true=metrics.per_class[true].label,
            said=metrics.per_class[said].label,
            count=-number,
            share=-number / metrics.per_class[true].support,
        )
        for number, true, said in sorted(found)[:limit]
    )


def learning(history: Sequence["EpochResult"], best_epoch: int, kept_epoch: int | None) -> str:
    """What the learning curves show, and which epoch's weights are the result; None: several."""
    first, last, best = history[0], history[-1], history[best_epoch - 1]
    if best.val_loss is None or last.val_loss is None:
        return (
            f"No rows were held out for validation. Training loss went from {first.loss:.3f} "
            f"to {last.loss:.3f} in {_plural(len(history), 'epoch')}."
        )
    text = f"Validation loss was lowest after epoch {best_epoch}, at {best.val_loss:.3f}."
    if best_epoch == last.epoch:
        text += " That was the last epoch: more epochs may still help."
        if kept_epoch in (None, best_epoch):
            return text
    elif last.val_loss > best.val_loss * 1.02 and last.loss < best.loss:
        text += (
            f" By epoch {last.epoch} it had risen to {last.val_loss:.3f} while training loss "
            "kept falling: the model had begun to memorise."
        )
    if kept_epoch is None:
        return text + " Each member is published with the weights of an epoch of its own."
    return text + f" The published weights are those of epoch {kept_epoch}."


def validation(seen: "ValidationScores", members: int, held_out: int) -> str:
    """Which rows validated the model, and how it did on them; so many were held out of all."""
    if seen.kind == "held-out":
        who = "no member was" if members > 1 else "it was not"
        text = f"Validation is held-out: {count(seen.rows)} training rows that {who} trained on."
    else:
        text = (
            f"Validation is out-of-fold: each of {count(seen.rows)} training rows is scored by the "
            "members that were not trained on it."
        )
    text += f" Accuracy {percent(seen.accuracy)}, loss {seen.loss:.4f}"
    if seen.temperature != 1:
        text += f", with temperature {seen.temperature:.3f} fitted on these rows"
    if seen.kind == "held-out" and held_out > seen.rows:
        text += f". The curves show the {count(held_out - seen.rows)} others that were held out"
    return text + "."


def confusions(metrics: Metrics) -> str:
    """What the confusion matrix shows."""
    top = top_confusions(metrics, limit=1)
    if not top:
        return f"All {count(metrics.rows)} test rows were named correctly."
    worst = top[0]
    return (
        f"The most frequent mistake: {quoted(worst.true)} taken for {quoted(worst.said)}, "
        f"{_plural(worst.count, 'time')} ({percent(worst.share, 1)} of {quoted(worst.true)})."
    )


def calibration(metrics: Metrics) -> str:
    """What the reliability diagram shows."""
    # A threshold moves answers; probabilities are about the most probable class.
    bins = metrics.calibration
    confidence = sum(b.confidence * b.count for b in bins) / metrics.rows
    accuracy = sum(b.accuracy * b.count for b in bins) / metrics.rows
    gap = confidence - accuracy
    tendency = "about right"
    if abs(gap) >= 0.002:
        tendency = "over-confident" if gap > 0 else "under-confident"
    return (
        f"Taken together it is {tendency}: {percent(confidence, 1)} sure on average, "
        f"{percent(accuracy, 1)} right. The expected calibration error is "
        f"{percent(metrics.calibration_error)}."
    )


def shares(classes: Sequence[object], each: NDArray[np.float64]) -> str:
    """How common the classes are in training."""
    most, least = int(each.argmax()), int(each.argmin())
    if each[most] == each[least]:
        return "They are equally common."
    return (
        f"The most common is {quoted(classes[most])} with {percent(each[most], 1)} of the training "
        f"rows, the rarest {quoted(classes[least])} with {percent(each[least], 1)}."
    )


def headline(metric: str, metrics: Metrics, what: str) -> str:
    """The score that versions are compared by, on so many rows or images."""
    rows = f"{count(metrics.rows)} unseen {what}"
    value = getattr(metrics.scores, metric)
    if metric == "accuracy" or value is None:
        return f"{percent(metrics.accuracy)} of {rows} named correctly"
    return f"{capitalised(TITLES[metric])} {score(metric, value)} on {rows}"


def baseline(metric: str, metrics: Metrics, label: object) -> str:
    """What there would be without a model; `label` is the most common class in training."""
    value = getattr(metrics.baseline, metric)
    text = f"Always answering {quoted(label)}, the most common class, "
    if metric == "accuracy" or value is None:
        return f"{text}would be right on {percent(metrics.baseline.accuracy)}."
    return f"{text}reaches {score(metric, value)}."


def score(metric: str, value: float) -> str:
    """A score by its name: shares in percent, the others in their units."""
    return percent(value) if metric in SHARES else f"{value:.4f}"


def brier(classes: int) -> str:
    """How the Brier score counts, which differs from its other form for two classes."""
    text = "The Brier score sums the squared errors of all classes: 0 is the best, 2 the worst"
    return text + ("; of one of two classes alone it is half as much." if classes == 2 else ".")


def points(metric: str, change: float) -> str:
    """A change of a score: of a share in points, without the word."""
    return signed(100 * change, 2) if metric in SHARES else signed(change)


def signed(change: float, digits: int = 4) -> str:
    """A change with its sign; what rounds to nothing has a plus."""
    return f"{round(change, digits) + 0.0:+.{digits}f}"


def worse(metric: str, lost: float) -> str:
    """How a score changes that becomes worse by so much."""
    return points(metric, -better_by(metric, lost, 0))


def importance(found: "Importance") -> str:
    """Which columns the model owes the most to, and which may owe it nothing."""
    matter = [each for each in found.columns if each.loss_interval[0] > 0]
    if not matter:
        return "No column matters by itself: the model is not worse when any one is shuffled."
    names = [quoted(each.column) for each in matter[:3]]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    text = f"The model owes the most to {listed}."
    rest = len(found.columns) - len(matter)
    if rest == 0:
        return text
    return (
        f"{text} {_plural(len(matter), 'column')} of {len(found.columns)} surely "
        f"{'matters' if len(matter) == 1 else 'matter'}; without the rest it may be as good."
    )


def threshold(curves: "Curves", rule: str | None) -> str:
    """From which probability on a class is the answer, and what that does on the test rows."""
    now, label = curves.at(curves.threshold), quoted(curves.label)
    chosen = "is more probable than not"
    if rule:
        number = parse_threshold(rule)[0] == "value"
        how = "as --threshold says" if number else f"chosen by {rule} on validation rows"
        chosen = f"has a probability of at least {now.threshold:.4g}, {how}"
    answers = now.found + now.alarms
    text = (
        f"The answer is {label} when it {chosen}. That finds {count(now.found)} of "
        f"{count(curves.positives)} test rows of {label} ({percent(now.recall, 1)})"
    )
    if not answers:
        return text + "."
    return (
        f"{text}, and {count(now.alarms)} of {_plural(answers, 'such answer')} "
        f"{'is a false alarm' if now.alarms == 1 else 'are false alarms'} "
        f"({percent(now.alarms / answers, 1)})."
    )


def hardest(each: Sequence[tuple[float, "Curves"]], classes: int) -> str:
    """Which classes the scores tell apart from the others least."""
    label, area = quoted(each[0][1].label), each[0][0]
    which = f"The {count(len(each))} of {count(classes)} classes with the lowest ROC AUC"
    return (
        f"{which if len(each) < classes else 'The classes by their ROC AUC, the lowest first'}: a "
        f"row of {label} has a higher probability of {label} than a row of another class in "
        f"{percent(area, 1)} of all pairs."
    )


def gain(curves: "Curves") -> str:
    """How much of a class is among the tenth of the rows that are likeliest to belong to it."""
    found = curves.gain(0.1)
    return (
        f"The tenth of the rows with the highest probability of {quoted(curves.label)} holds "
        f"{percent(found, 1)} of it, {found / 0.1:.1f} times as much as a tenth drawn at random."
    )


def cost(curves: "Curves") -> str:
    """What a thousand rows cost with this threshold, and with simpler rules."""
    missed, alarm = curves.costs or (0.0, 0.0)
    label = quoted(curves.label)
    at = {value: curves.at(value).cost or 0.0 for value in (curves.threshold, 0.5, 0.0)}
    never = missed * curves.positives / curves.rows
    return (
        f"When a missed {label} costs {missed:g} and a false alarm {alarm:g}, a thousand rows "
        f"cost {1000 * at[curves.threshold]:,.0f}. A threshold of 0.5 would cost "
        f"{1000 * at[0.5]:,.0f}, never answering {label} {1000 * never:,.0f}, always "
        f"{1000 * at[0.0]:,.0f}."
    )


def trend(past: Sequence["Manifest"], metric: "Metric", metrics: Metrics) -> str:
    """Where this version stands among the last ones; `past` are those that have the score."""
    now, last = getattr(metrics.scores, metric), past[-1].metrics.value(metric) or 0.0
    by = better_by(metric, 1, 0)
    best = max(past, key=lambda manifest: by * (manifest.metrics.value(metric) or 0.0))
    text = (
        f"This version reached {score(metric, now)}, {points(metric, now - last)}"
        f"{' points' if metric in SHARES else ''} against version {past[-1].version}."
    )
    if len(past) == 1:
        return text
    return (
        f"{text} The best of the {count(len(past))} versions before was version {best.version} "
        f"with {score(metric, best.metrics.value(metric) or 0.0)}."
    )


def time_spent(seconds: Mapping[str, float]) -> str:
    """Which phase took the most of the time."""
    total, longest = sum(seconds.values()), max(seconds, key=lambda phase: seconds[phase])
    return (
        f"The longest phase was {longest}: {duration(seconds[longest])} of {duration(total)} "
        f"({percent(seconds[longest] / total if total else 0.0, 0)})."
    )


def network(model: ModelOptions, families: Mapping[str, float] | None = None) -> str:
    """What kind of network it is, with its article.

    Args:
        model: The options.
        families: Family → its share in the mean; empty for one.
    """
    kinds = ["convolutional network" if k == "cnn" else _MLP for k in model.model.split()]
    members = model.members or 1
    if len(kinds) == members == 1:
        return f"A {kinds[0]}"
    text = "An average of " + " and ".join(_plural(members, kind) for kind in kinds)
    shares = " and ".join(percent(share, 0) for share in (families or {}).values())
    return f"{text}, which count for {shares}," if shares else text


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _BIDI_CONTROLS

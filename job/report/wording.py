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

from job.evaluation.metrics import Metrics

if TYPE_CHECKING:
    from job.registry.manifest import Manifest
    from job.training.state import EpochResult

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


def learning(history: Sequence["EpochResult"], best_epoch: int, best_kept: bool) -> str:
    """What the learning curves show; `best_kept`: the best epoch's weights are the result."""
    first, last, best = history[0], history[-1], history[best_epoch - 1]
    if best.val_loss is None or last.val_loss is None:
        return (
            f"No rows were held out for validation. Training loss went from {first.loss:.3f} "
            f"to {last.loss:.3f} in {_plural(len(history), 'epoch')}."
        )
    text = f"Validation loss was lowest after epoch {best_epoch}, at {best.val_loss:.3f}."
    if best_epoch == last.epoch:
        return text + " That was the last epoch: more epochs may still help."
    if last.val_loss > best.val_loss * 1.02 and last.loss < best.loss:
        text += (
            f" By epoch {last.epoch} it had risen to {last.val_loss:.3f} while training loss "
            "kept falling: the model had begun to memorise."
        )
    kept = best_epoch if best_kept else last.epoch
    return text + f" The published weights are those of epoch {kept}."


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
    confidence = sum(b.confidence * b.count for b in metrics.calibration) / metrics.rows
    gap = confidence - metrics.accuracy
    tendency = "about right"
    if abs(gap) >= 0.002:
        tendency = "over-confident" if gap > 0 else "under-confident"
    return (
        f"Taken together it is {tendency}: {percent(confidence, 1)} sure on average, "
        f"{percent(metrics.accuracy, 1)} right. The expected calibration error is "
        f"{percent(metrics.calibration_error)}."
    )


def trend(past: Sequence["Manifest"], metrics: Metrics) -> str:
    """Where this run stands among the last ones."""
    best = max(past, key=lambda manifest: manifest.metrics.accuracy)
    change = 100 * (metrics.accuracy - past[-1].metrics.accuracy)
    text = (
        f"This run reached {percent(metrics.accuracy)}, {change:+.2f} points against version "
        f"{past[-1].version}."
    )
    if len(past) == 1:
        return text
    return (
        f"{text} The best of the {count(len(past))} versions before was version {best.version} "
        f"with {percent(best.metrics.accuracy)}."
    )


def time_spent(seconds: Mapping[str, float]) -> str:
    """Which phase took the most of the time."""
    total, longest = sum(seconds.values()), max(seconds, key=lambda phase: seconds[phase])
    return (
        f"The longest phase was {longest}: {duration(seconds[longest])} of {duration(total)} "
        f"({percent(seconds[longest] / total if total else 0.0, 0)})."
    )


def _plural(number: int, noun: str) -> str:
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _BIDI_CONTROLS

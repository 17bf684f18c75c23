"""Options about training: how long, how fast, on what device."""

import re
from dataclasses import dataclass
from typing import Literal

from job.config.option import AT_LEAST_1, Options, option

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

CHANGES = ("shift", "rotate", "zoom", "flip", "elastic")
"""What `--augment` does to images."""

THRESHOLD = re.compile(r"f1|(recall|precision)=([^:]+)|cost=([^:]+):([^:]+)|([^=:]+)")


def parse_threshold(rule: str) -> tuple[str, tuple[float, ...]]:
    """The kind of a `--threshold` and its numbers.

    Returns:
        f1, recall, precision, cost or value; and its numbers.

    Raises:
        ValueError: It is none.
    """
    match = THRESHOLD.fullmatch(rule)
    if match is None:
        raise ValueError(rule)
    share, number, missed, alarm, value = match.groups()
    if share:
        return share, (float(number),)
    if missed:
        return "cost", (float(missed), float(alarm))
    return ("value", (float(value),)) if value else ("f1", ())


def is_threshold(rule: str) -> bool:
    """Whether `--threshold` can be read."""
    try:
        kind, numbers = parse_threshold(rule)
    except ValueError:
        return False
    if kind == "cost":
        return all(0 < number < float("inf") for number in numbers)
    return all(0 <= number <= 1 for number in numbers)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How the model is fitted."""

    epochs: int | None = option(
        None,
        "Passes over the training rows; 10 for mlp, 12 to 100 by the rows for cnn, for tabular "
        "until the loss stops falling.",
        **AT_LEAST_1,
        recorded=10,
        everyday=True,
    )
    time_limit: float | None = option(
        None,
        "Seconds of training, over all tries of a run, after which the best weights are published.",
        expects="a number above 0",
        valid=lambda v: 0 < v < float("inf"),
        makes_model=False,
    )
    batch_size: int | None = option(
        None,
        "Rows in each gradient step; 250 for mlp, chosen by the rows for tabular and cnn.",
        **AT_LEAST_1,
        recorded=250,
    )
    learning_rate: float | None = option(
        None,
        "Adam's learning rate; 0.001 for mlp, 0.002 for tabular. Of cnn, its peak; 0.004 or, on "
        "many rows, 0.008.",
        recorded=0.001,
        expects="a number above 0",
        valid=lambda v: 0 < v < float("inf"),
    )
    augment: tuple[str, ...] | None = option(
        None,
        "Random changes of training images: shift, rotate, zoom, flip, elastic, or none; shift "
        "rotate zoom for cnn, none for mlp.",
        recorded=(),
        expects="some of shift, rotate, zoom, flip and elastic, or none alone",
        valid=lambda v: set(v) <= set(CHANGES) or tuple(v) == ("none",),
        metavar="CHANGES",
    )
    class_weights: bool = option(False, "Weigh each class by its rarity in the training loss.")
    threshold: str | None = option(
        None,
        "How one of two classes is decided for: f1, recall=0.9, precision=0.8, cost=5:1 or 0.3.",
        expects="f1, recall=0.9, precision=0.8, cost=5:1 or a number from 0 to 1",
        valid=is_threshold,
    )
    patience: int | None = option(
        None,
        "Stop after this many epochs without a lower validation loss, and keep the best weights; "
        "12 for tabular, which may go on to twice the epochs to a member's lowest loss.",
        **AT_LEAST_1,
    )
    seed: int = option(
        0,
        "Seed of the initial weights, the order of the rows, dropout and --augment.",
        expects="a whole number from 0 to 2**32 - 1",
        valid=lambda v: 0 <= v < 2**32,
    )
    precision: Precision = option("float32", "Keras dtype policy of the layers.")
    device: Device = option(
        "auto",
        "Where to train; auto takes a working GPU, or else the CPU with a warning.",
        makes_model=False,
        everyday=True,
    )
    devices: str = option(
        "1",
        "How many GPUs of a machine train together, each on its share of every batch; a number "
        "or all.",
        expects="a whole number of at least 1, or all",
        valid=lambda v: v == "all" or (v.isascii() and v.isdigit() and int(v) > 0),
        makes_model=False,
    )
    hosts: int | None = option(
        None,
        "How many hosts train together, each with --devices of its own; by default those of "
        "TF_CONFIG, or 1.",
        **AT_LEAST_1,
        makes_model=False,
    )
    peer_address: str | None = option(
        None,
        "Address of each of several hosts, NAME or NAME:PORT, with {index} in place of its number; "
        "not needed with TF_CONFIG.",
        expects="an address with {index} in it",
        valid=lambda v: "{index}" in v,
        makes_model=False,
    )
    peer_timeout: float = option(
        60.0,
        "Seconds until a host that hangs, cannot be reached or gives no sign of life ends all.",
        expects="a number of at least 1",
        valid=lambda v: 1 <= v < float("inf"),
        makes_model=False,
    )
    xla: bool = option(True, "Compile training with XLA.")
    checkpoint_every: float | None = option(
        None,
        "Seconds between checkpoints; by default as often as costs at most 2 % of the time.",
        expects="a number of at least 0",
        valid=lambda v: 0 <= v < float("inf"),
        makes_model=False,
    )

    @property
    def changes(self) -> tuple[str, ...]:
        """What `augment` says, without none."""
        return tuple(word for word in CHANGES if word in (self.augment or ()))

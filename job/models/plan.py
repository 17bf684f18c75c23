"""plan: what the options leave open, decided by the data and the device."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from job.config import GROUP_OF, OPTIONS, Config
from job.config.options import arguments
from job.config.training import CHANGES
from job.data import splits
from job.data.dataset import Dataset
from job.errors import UsageError
from job.models.members import FOLDS, folds, groups, rarest
from job.models.tabular import HEADS, feature_count

REFERENCE: Mapping[str, Any] = {
    "members": 1,
    "hidden": (350, 50),
    "dropout": 0.0,
    "epochs": 10,
    "batch_size": 250,
    "learning_rate": 0.001,
    "validation_split": 0.2,
    "text": (),
    "augment": (),
}
"""What the reference MLP of the tutorial takes for options that are left open."""

OPEN = ("model", *REFERENCE, "patience")
"""Options that may be left open."""

DEVICE_SHARE = 0.6
"""Of a GPU's memory that the rows may take; the rest is for the network and its gradients."""

MANY = 20_000
"""Rows from which an epoch has so many steps that fewer epochs without progress are enough."""

MEMBERS, LAYERS, WIDTH = 5, 3, 192
"""Of the network for tables: members, hidden layers, and units of each."""

SINGLE_HOLDS_OUT, CNN_HOLDS_OUT = 0.2, 0.1
"""Shares of the training rows that no network trains on: by a single member of the network for
tables, and by convolutional networks."""

CPU_WORK, CPU_WORK_IN_ALL = 8e11, 3e13
"""Multiplications and additions of an epoch, and of a training, that a processor is given: about
10 seconds and 7 minutes on two cores."""

FEWEST_OF_MANY = 40
"""Epochs that a processor is given on any number of rows."""

SMALLEST, STEM_SIDE = 4, 40
"""Pixels of the shorter side of an image, at least; above the second it is halved first."""

AUGMENT = ("shift", "rotate", "zoom")
"""What is done to images by default; a mirrored image may be of another class."""

SEEN, FEWEST, MOST = 650_000, 12, 100
"""Images that a convolutional network sees in all, and its epochs, at least and at most."""

SEVERAL_SEE, GPU_SEES, GPU_WIDENS = 2, 4, 2
"""Factors: of SEEN for several members on a processor; of SEEN on a GPU; of the channels there."""

KEPT = ("name", "store", "augment", "class_weights", "device")
"""Options beside the data's that a command for another network keeps."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Options of which none is open, and why they were chosen.

    Attributes:
        config: The options.
        chosen: The options that were open, and what they have become (JSON values).
        reasons: A sentence for each thing that the device decided.
    """

    config: Config
    chosen: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def network(config: Config, *, table: bool) -> str:
    """The kind of network: what `--model auto` stands for."""
    if config.model.model != "auto":
        return config.model.model
    return "tabular" if table else "mlp"


def reference(config: Config) -> Config:
    """The same options, with the tutorial's values for those that are open."""
    flat = config.flat()
    missing = {name: value for name, value in REFERENCE.items() if flat[name] is None}
    return config.replaced(**missing) if missing else config


def convolves(config: Config) -> bool:
    """Whether the network has convolutions; `--model auto` never has."""
    return "cnn" in config.model.model


def holdout(config: Config) -> splits.Share:
    """The share of training rows to hold out, or a function of what data has come.

    Returns:
        A share for `--model mlp`, else (is it a table) → share. Of several members it is 0 where
        they hold out folds of their own. Of a table, a function also keeps equal rows on one side,
        which a share does not; see `job.data.table.load`.
    """
    given, several = config.data.validation_split, (config.model.members or 1) > 1
    plain = 0.0 if several else float(REFERENCE["validation_split"])
    if config.model.model == "mlp":
        return plain if given is None else given

    def share(table: bool) -> float:
        if given is not None:
            return given
        kind = network(config, table=table)
        if kind != "tabular":
            return plain if kind == "mlp" else CNN_HOLDS_OUT
        return SINGLE_HOLDS_OUT if config.model.members == 1 else 0.0

    return share


def decide(
    config: Config,
    dataset: Dataset,
    *,
    gpu: bool,
    device_bytes: int | None = None,
    text: tuple[str, ...] = (),
) -> Plan:
    """Fills in what is open.

    Args:
        config: The options.
        dataset: What is trained on.
        gpu: Whether the device is one; a processor is given a smaller network on many rows.
        device_bytes: The device's own memory; None for a processor.
        text: Columns of free text that `job.training.free_text` chose; the data set has them.

    Raises:
        UsageError: A network for other data, or `--augment` without images.
    """
    kind = network(config, table=dataset.table is not None)
    _expect_suited(kind, config, dataset)
    flat, share = config.flat(), holdout(config)
    held = share(dataset.table is not None) if callable(share) else share
    values: dict[str, Any] = {**REFERENCE, "validation_split": held, "text": text}
    reasons: tuple[str, ...] = ()
    if kind == "tabular":
        own, reasons = _for_table(config, dataset, held=held, gpu=gpu)
        values |= own
    elif "cnn" in kind:
        own, reasons = _for_images(config, dataset, gpu=gpu)
        values |= own
    elif (config.model.members or 1) > 1:
        values |= {"dropout": 0.2, "epochs": 40, "patience": 4}
    chosen = {name: value for name, value in values.items() if flat[name] is None}
    settled = config.replaced(**chosen)
    reasons += _fewer_folds(settled, dataset)
    if config.model.model == "auto":
        chosen["model"] = kind
        settled = settled.replaced(model=kind)
    chosen["feed"], why = _feed(config, dataset, device_bytes)
    return Plan(
        config=settled.replaced(feed=chosen["feed"]), chosen=chosen, reasons=(*reasons, *why)
    )


def _fewer_folds(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """Why several members hold out fewer folds than usual, if they do."""
    count, rare, apart = folds(config, dataset), rarest(dataset), groups(dataset)
    if (config.model.members or 1) == 1 or len(dataset.validation_rows) or count == FOLDS:
        return ()
    if not count:
        return ("Members hold out no rows: the training rows are one group.",)
    cause = (
        f"the training rows are {apart} groups"
        if apart <= rare
        else f"the rarest class has {rare} of the training rows"
    )
    return (f"Members hold out {count} folds in turn, not {FOLDS}: {cause}.",)


def _for_table(
    config: Config, dataset: Dataset, *, held: float, gpu: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the network for tables takes for options that are left open, and why."""
    rows = len(dataset.fit_rows)
    validated = held or (config.model.members != 1 and groups(dataset) > 1)
    epochs, patience = 256 if validated else 64, 12 if len(dataset.train) < MANY else 6
    values = {
        "members": MEMBERS,
        "hidden": (WIDTH,) * LAYERS,
        "dropout": 0.1,
        "epochs": epochs,
        "batch_size": _batch(rows),
        "learning_rate": 0.002,
        "patience": patience if validated else None,
    }
    if gpu or config.model.hidden is not None or config.model.members is not None:
        return values, ()
    open_epochs = epochs if config.training.epochs is None else None
    smaller, reasons = for_processor(rows, feature_count(dataset), open_epochs)
    return {**values, **smaller}, reasons


def _for_images(
    config: Config, dataset: Dataset, *, gpu: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What convolutional networks take for options that are left open, and why."""
    rows, channels = len(dataset.train), _channels(*dataset.shape[:2])
    seen = SEEN * (GPU_SEES if gpu else SEVERAL_SEE if (config.model.members or 1) > 1 else 1)
    values = {
        "hidden": tuple(GPU_WIDENS * each for each in channels) if gpu else channels,
        "epochs": max(FEWEST, min(MOST, seen // rows)),
        "batch_size": 128 if rows >= MANY else max(16, min(64, rows // 16)),
        "learning_rate": 0.008 if rows >= MANY else 0.004,
        "augment": AUGMENT,
    }
    if gpu and None in (config.model.hidden, config.training.epochs):
        return values, ("A GPU is given more channels and more epochs than a processor.",)
    return values, ()


def for_processor(
    rows: int, features: int, epochs: int | None
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """What a network for tables has on a processor, by the work of an epoch and of all of them.

    Args:
        rows: That it learns from.
        features: That its first layer multiplies.
        epochs: At most, where time does not count; None where the user decides.

    Returns:
        Options that become smaller, and why; nothing where the network suits a processor as it is.
    """

    def work(members: int, units: int) -> float:
        return 6.0 * rows * members * HEADS * units * (features + (LAYERS - 1) * units)

    for members, units in ((MEMBERS, WIDTH), (5, 128), (2, 128), (2, 64)):
        if work(members, units) <= CPU_WORK:
            break
    smaller: dict[str, Any] = {}
    changes = []
    if (members, units) != (MEMBERS, WIDTH):
        smaller |= {"members": members, "hidden": (units,) * LAYERS}
        changes.append(f"{members} members of {units} units in place of {MEMBERS} of {WIDTH}")
    fewer = max(FEWEST_OF_MANY, int(CPU_WORK_IN_ALL / work(members, units)))
    if epochs is not None and fewer < epochs:
        smaller["epochs"] = fewer
        changes.append(f"{fewer} epochs at most in place of {epochs}")
    if not changes:
        return {}, ()
    reason = (
        f"{' and '.join(changes)}: {rows:,} rows of {features:,} features would take long on a "
        "processor. --members, --hidden and --epochs decide."
    )
    return smaller, (reason,)


def resumed(config: Config, chosen: Mapping[str, Any] | None) -> Config:
    """The options with what an earlier try, or a published version, chose for the open ones.

    Args:
        config: The options.
        chosen: Option → value; None of a version that had the reference MLP alone.
    """
    flat = config.flat()
    if chosen is None:
        chosen = {"model": "mlp", **REFERENCE}
    chosen = {"text": (), "augment": (), **chosen}  # as versions behaved that had no such option
    feed = chosen.get("feed", OPTIONS["feed"].recorded)  # its rows have an order by now
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in chosen.items()
        if name in OPEN and (flat[name] is None or (name == "model" and flat[name] == "auto"))
    }
    return config.replaced(**values, feed=feed)


def _feed(
    config: Config, dataset: Dataset, device_bytes: int | None
) -> tuple[str, tuple[str, ...]]:
    """Where the rows of each step come from, and why, where the size decided it."""
    if config.data.feed != "auto":
        return config.data.feed, ()
    size = dataset.size
    if size.streamed:
        return "stream", (
            f"Rows are streamed from the scratch disk: to read them takes about "
            f"{size.needed / 2**30:.1f} GiB of memory, and {size.allowed / 2**30:.1f} are there. "
            "--feed decides.",
        )
    if device_bytes is not None and dataset.nbytes > DEVICE_SHARE * device_bytes:
        return "stream", (
            f"Rows are streamed to the device: they take {dataset.nbytes / 2**30:.1f} GiB, and it "
            f"has {device_bytes / 2**30:.1f}. --feed decides.",
        )
    return "memory", ()


def are_images(dataset: Dataset) -> bool:
    """Whether rows have a height and a width."""
    return dataset.table is None and len(dataset.shape) in (2, 3)


def worth_a_try(config: Config, dataset: Dataset) -> tuple[str, ...]:
    """Which network may do better than `--model auto`, with the command; MNIST is the reference."""
    large = are_images(dataset) and min(dataset.shape[:2]) >= SMALLEST
    if config.model.model != "auto" or not large or dataset.uri == "mnist":
        return ()
    names = [name for name in OPTIONS if GROUP_OF[name] == "data" or name in KEPT]
    changed = [name for name in names if config.flat()[name] != OPTIONS[name].default]
    words = shlex.join(["--model=cnn", *arguments(config, changed)])
    return (f"For images a convolutional network may do better: mlp-job train {words}",)


def _channels(height: int, width: int) -> tuple[int, ...]:
    """Channels of each stage of `cnn`; every stage but the first halves the image."""
    side = min(height, width)
    if side < 2 * SMALLEST:
        return (64,)
    if side < 4 * SMALLEST:
        return (32, 64)
    return (16, 32, 64) if side <= STEM_SIDE else (32, 64, 128)


def _expect_suited(kind: str, config: Config, dataset: Dataset) -> None:
    """Raises UsageError for a network of other data, or `--augment` without images."""
    table, shape, images = dataset.table is not None, dataset.shape, are_images(dataset)
    received = "a table" if table else f"rows of shape {shape}"
    if kind == "tabular" and not table:
        raise UsageError(
            f"--model: expected auto, mlp or cnn, since --data is no table. Received: {kind!r}.",
            hint="Leave --model out.",
        )
    if "cnn" in kind and not images:
        raise UsageError(
            f"--model {kind}: expected images, rows of shape (height, width) or (height, width, "
            f"channels). Received: {received}.",
            hint="Leave --model out, or give --data images.",
        )
    if "cnn" in kind and min(shape[:2]) < SMALLEST:
        raise UsageError(
            f"--model {kind}: expected images of at least {SMALLEST} × {SMALLEST} pixels. "
            f"Received: {shape[0]} × {shape[1]}.",
            hint="Use --model mlp; arrays of images have their channels last.",
        )
    if config.training.changes and not images:
        raise UsageError(
            f"--augment: expected images; it does {', '.join(CHANGES)} to them. "
            f"Received: {received}.",
            hint="Leave --augment out.",
        )


def _batch(rows: int) -> int:
    """An eighth of the rows between 32 and 256, and more on many rows."""
    if rows >= MANY:
        return 512 if rows < 100_000 else 1024
    return max(32, min(256, rows // 8))

"""What a published version says about itself: Manifest, its parts, and the Draft before it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from job.config.gate import Metric
from job.data.dataset import Classes, Dataset
from job.data.schema import Schema
from job.evaluation.scores import better_by
from job.evaluation.threshold import Threshold
from job.registry.verdict import Verdict

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What a file must be: its size in bytes and its SHA-256 in lower-case hex."""

    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size < 0 or not SHA256.fullmatch(self.sha256):
            raise ValueError("a file's size is at least 0 and its SHA-256 has 64 hex digits")


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The data set.

    Attributes:
        uri: `--data`, as the user wrote it.
        test_uri: `--test-data`, or None when the data set brought its own test rows.
        digest: SHA-256 (hex) of the contents, independent of path and packing.
        train_rows: Rows that the gradient saw.
        validation_rows: Rows held out for validation.
        test_rows: Rows that the metrics were measured on.
    """

    uri: str
    test_uri: str | None
    digest: str
    train_rows: int
    validation_rows: int
    test_rows: int


@dataclass(frozen=True, kw_only=True)
class InputRecord:
    """One row as the published model takes it: its shape, without the batch, and its dtype."""

    shape: tuple[int, ...]
    dtype: str


def input_of(dataset: Dataset) -> InputRecord:
    """What a model of this data takes."""
    return InputRecord(shape=dataset.shape, dtype=dataset.dtype)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What ranks versions; see `job.evaluation.scores.Scores`. None in old manifests.

    Attributes:
        accuracy_interval: 95 % interval of the accuracy.
        loss: Log loss, nats.
        training_auc: ROC AUC on the training and validation rows.
        baseline: Score → what a model reaches that knows the classes' shares only.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    loss: float
    balanced_accuracy: float | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    f1: float | None = None
    brier: float | None = None
    matthews: float | None = None
    training_auc: float | None = None
    baseline: Mapping[str, float | None] | None = None

    def named(self) -> dict[str, float | None]:
        """Every score by its name, the log loss by its first name, too; None if not on record."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "log_loss": self.loss,
            "balanced_accuracy": self.balanced_accuracy,
            "roc_auc": self.roc_auc,
            "average_precision": self.average_precision,
            "f1": self.f1,
            "brier": self.brier,
            "matthews": self.matthews,
        }

    def value(self, metric: str) -> float | None:
        """One score by its name, as `--metric` has it; None when it is not on record."""
        return self.named()[metric]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a run knows before it has a version number.

    Attributes:
        run_id: Identity of the run, shared by its retries.
        attempt: Identity of this try; its files lie in a folder of this name.
        data: The data set.
        classes: The labels, in the order of the model's outputs.
        input: What the model takes.
        config: The configuration that bears on the model (JSON values).
        library_versions: Python and the libraries that made the model.
        device: What the model was trained on (JSON values).
        seconds: Wall-clock time from the start of the run until publishing.
        metrics: Scores on the test rows.
        verdict: Whether the model may become champion, and why.
        exact: Whether resuming gives the same bits; None when nothing was resumed.
        time_limited: Steps done when the time limit ended training; None when it did not.
        fingerprint: SHA-256 (hex) of what the model was made from; in old manifests what is now
            the source. See `job.registry.fingerprint`.
        source: The same, as known before the data was read; None in old manifests.
        schema: The columns of a table; `input` is then what its layers make of them.
        metric: What versions are compared by; None in old manifests.
        threshold: How a class is decided for, of two; None for the most probable one.
    """

    run_id: str
    attempt: str
    data: DataRecord
    classes: Classes
    input: InputRecord
    config: Mapping[str, Any]
    library_versions: Mapping[str, str]
    device: Mapping[str, Any]
    seconds: float
    metrics: Scores
    verdict: Verdict
    exact: bool | None = None
    time_limited: int | None = None
    fingerprint: str | None = None
    source: str | None = None
    schema: Schema | None = None
    metric: Metric | None = None
    threshold: Threshold | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest(Draft):
    """A complete version: `versions/{version}/manifest.json`.

    Attributes:
        schema_version: The version of this format.
        name: The model's name in the store.
        version: The number that the run claimed.
        created: When the manifest was written; no decision depends on it.
        files: Path, relative to the version's folder and so below `{attempt}/`, to what must
            be there.
    """

    schema_version: Literal[1]
    name: str
    version: int
    created: datetime
    files: Mapping[str, FileRecord]

    def __post_init__(self) -> None:
        if self.version < 1 or self.created.tzinfo is None:
            raise ValueError("a version is at least 1 and its time has a zone")
        for path in self.files:
            first, *rest = path.split("/")
            if first != self.attempt or not rest or {"", ".", ".."} & set(rest) or "\0" in path:
                raise ValueError(f"{path!r} is not a path below {self.attempt!r}")


def rank(metric: Metric, manifest: Manifest) -> tuple[bool, float, int]:
    """The larger, the better; versions without this score on record come last, by accuracy."""
    value = manifest.metrics.value(metric)
    if value is None:
        return (False, manifest.metrics.accuracy, manifest.version)
    return (True, better_by(metric, value, 0.0), manifest.version)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who may complete a version: `versions/{version}/claim.json` and `runs/{run id}/version`."""

    schema_version: Literal[1]
    version: int
    run_id: str
    attempt: str

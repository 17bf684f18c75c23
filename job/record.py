"""Fit, Record, Outcome: what a run came to, read by the gate, the report, tracking, publishing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.config.gate import Metric
from job.data.dataset import Dataset
from job.device import DeviceInfo
from job.evaluation.importance import Importance
from job.evaluation.metrics import Metrics
from job.evaluation.occlusion import Occlusion
from job.evaluation.threshold import decide
from job.registry.fingerprint import fingerprint
from job.registry.manifest import DataRecord, Draft, Manifest, Scores, input_of
from job.registry.runs import Identity
from job.registry.verdict import Verdict
from job.training.calibration import ValidationScores
from job.training.devices import Speedup
from job.training.state import EpochResult


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A trained model and its scores.

    Attributes:
        config: The options, none of them open.
        dataset: What it learned from and was tested on.
        device: The device that trained it.
        library_versions: Library → version.
        created: When it was evaluated, with its time zone.
        network: The trained model; takes what `dataset.train.x` holds.
        parameters: Number of its trained weights.
        history: One result for each epoch.
        best_epoch: The epoch with the lowest validation loss, counted from 1.
        kept_epoch: The epoch whose weights are published; None where each member has its own.
        validation: Scores on rows that the model was not trained on; None without such rows.
        probabilities: (test rows, classes), float32; what the model answers.
        metrics: Scores on the test rows.
        training_auc: ROC AUC on the training and validation rows.
        rows_per_second: Training rows over the seconds of an epoch.
        speedup: What several devices were worth; None for one.
        exact: Whether it was resumed with the same bits; None when it was not resumed.
        time_limited: Steps done when the time limit ended training; None when it did not.
        notes: What the rows, the device or the time limit decided of the network, in sentences.
        chosen: Options that were left open, and that the job chose.
    """

    config: Config
    dataset: Dataset
    device: DeviceInfo
    library_versions: Mapping[str, str]
    created: datetime
    network: Any
    parameters: int
    history: tuple[EpochResult, ...]
    best_epoch: int
    kept_epoch: int | None
    validation: ValidationScores | None = None
    probabilities: NDArray[np.float32]
    metrics: Metrics
    training_auc: float | None
    rows_per_second: float
    speedup: Speedup | None = None
    exact: bool | None = None
    time_limited: int | None = None
    notes: tuple[str, ...] = ()
    chosen: frozenset[str] = frozenset()

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(test rows,); the classes that the model decides for, as indices."""
        return decide(self.probabilities, self.dataset.classes, self.metrics.threshold)


@dataclass(frozen=True, kw_only=True)
class Record(Identity, Fit):
    """A finished run: what the report, the data files and the manifest describe.

    Attributes:
        version: The number that the run has claimed.
        metric: What versions are compared by.
        verdict: Whether the model may be promoted, and why.
        seconds: Phase → seconds, in the order of the phases.
        peak_memory_mb: The process's largest resident set, MB.
        gpu_peak_memory_mb: The most memory that TensorFlow held on the GPU, MB; None on a CPU.
        past: The versions before it, oldest first, for the trend; may be empty.
        importance: What the model owes to each column; None without a table.
        occlusions: Where in the images of its surest mistakes the answers come from.
    """

    version: int
    metric: Metric
    verdict: Verdict
    seconds: Mapping[str, float]
    peak_memory_mb: float
    gpu_peak_memory_mb: float | None = None
    past: tuple[Manifest, ...] = ()
    importance: Importance | None = None
    occlusions: tuple[Occlusion, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what the model was made from."""
        return fingerprint(self.config, self.dataset.digest, self.library_versions)

    def draft(self) -> Draft:
        """What the manifest says of the run, as far as it is known before publishing."""
        dataset, metrics = self.dataset, self.metrics
        return Draft(
            run_id=self.run_id,
            attempt=self.attempt,
            data=DataRecord(
                uri=dataset.uri,
                test_uri=self.config.data.test_data,
                digest=dataset.digest,
                train_rows=len(dataset.fit_rows),
                validation_rows=len(dataset.validation_rows),
                test_rows=len(dataset.test),
            ),
            classes=dataset.classes,
            input=input_of(dataset),
            config=self.config.flat(),
            library_versions=self.library_versions,
            device=asdict(self.device),
            seconds=round(sum(self.seconds.values()), 3),
            metrics=Scores(
                accuracy=metrics.accuracy,
                accuracy_interval=metrics.accuracy_interval,
                loss=metrics.loss,
                balanced_accuracy=metrics.scores.balanced_accuracy,
                roc_auc=metrics.scores.roc_auc,
                average_precision=metrics.scores.average_precision,
                f1=metrics.scores.f1,
                brier=metrics.scores.brier,
                matthews=metrics.scores.matthews,
                training_auc=self.training_auc,
                baseline=asdict(metrics.baseline),
            ),
            verdict=self.verdict,
            fingerprint=self.fingerprint,
            source=self.source,
            exact=self.exact,
            time_limited=self.time_limited,
            metric=self.metric,
            threshold=metrics.threshold,
            schema=dataset.schema,
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, for trackers and the termination message.

    Attributes:
        run_id: The run.
        manifest: The version that it published, or found to be unchanged.
        verdict: The final decision; None when there was nothing to do.
        seconds: Phase → seconds.
    """

    run_id: str
    manifest: Manifest
    seconds: Mapping[str, float]
    verdict: Verdict | None = None

    def details(self) -> Mapping[str, object]:
        """As the termination message has it (JSON values)."""
        manifest, verdict = self.manifest, self.verdict
        which = {"run_id": self.run_id, "model": manifest.name, "version": manifest.version}
        if verdict is None:
            return {"outcome": "skipped", **which}
        return {
            "outcome": "promoted" if verdict.promote else "rejected",
            **which,
            "metric": manifest.metric,
            "metrics": _rounded(manifest.metrics.named()),
            "baseline": _rounded(manifest.metrics.baseline or {}),
            "reasons": list(verdict.reasons),
            "comparisons": [asdict(each) for each in verdict.comparisons],
        }


def _rounded(named: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in named.items() if value is not None}

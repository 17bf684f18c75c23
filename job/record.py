"""Record: what a run came to, read by export, report, tracking and publishing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.config.gate import Metric
from job.data.dataset import Dataset
from job.device import DeviceInfo
from job.evaluation.metrics import Metrics
from job.registry import Published
from job.registry.fingerprint import fingerprint
from job.registry.manifest import DataRecord, Draft, Manifest, Scores, input_of
from job.registry.verdict import Verdict
from job.training.calibration import ValidationScores
from job.training.state import EpochResult


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A run and one try at it.

    Attributes:
        run_id: The run's identity.
        attempt: The identity of this try.
        source: See `job.registry.manifest.Draft`.
    """

    run_id: str
    attempt: str
    source: str | None


@dataclass(frozen=True, kw_only=True)
class Record(Identity):
    """A finished run: what the report, the data files and the manifest say of it.

    Attributes:
        config: What the run was told.
        dataset: What it learned from and was tested on.
        history: One result for each epoch.
        best_epoch: The epoch with the lowest validation loss, counted from 1.
        metrics: Scores on the test rows.
        probabilities: (test rows, classes), float32; what the model said.
        metric: What versions are compared by.
        training_auc: ROC AUC on the training and validation rows.
        verdict: Whether the model may be promoted, and why.
        device: The device that trained.
        library_versions: Library → version.
        seconds: Phase → seconds, in the order of the phases.
        exact: Whether it was resumed with the same bits; None when it was not resumed.
        created: When the model was evaluated, with its time zone.
        parameters: Number of trained weights.
        rows_per_second: Training rows over the seconds of an epoch.
        peak_memory_mb: The process's largest resident set, MB.
        gpu_peak_memory_mb: The most memory that TensorFlow held on the GPU, MB; None on a CPU.
        past: The versions before it, oldest first, for the trend; may be empty.
        validation: Scores on rows that the model was not trained on; None without such rows.
        notes: What the device or the time limit decided of the network, in sentences.
        time_limited: Steps done when the time limit ended training; None when it did not.
    """

    config: Config
    dataset: Dataset
    history: tuple[EpochResult, ...]
    best_epoch: int
    metrics: Metrics
    probabilities: NDArray[np.float32]
    metric: Metric
    training_auc: float | None
    verdict: Verdict
    device: DeviceInfo
    library_versions: Mapping[str, str]
    seconds: Mapping[str, float]
    exact: bool | None
    created: datetime
    parameters: int
    rows_per_second: float
    peak_memory_mb: float
    gpu_peak_memory_mb: float | None = None
    past: tuple[Manifest, ...] = ()
    validation: ValidationScores | None = None
    notes: tuple[str, ...] = ()
    time_limited: int | None = None

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
            schema=dataset.table.schema if dataset.table else None,
        )


def outcome(published: Published) -> Mapping[str, object]:
    """What a run came to, for the termination message (JSON values)."""
    manifest = published.manifest
    return {
        "outcome": "promoted" if published.verdict.promote else "rejected",
        "run_id": manifest.run_id,
        "model": manifest.name,
        "version": manifest.version,
        "metric": manifest.metric,
        "metrics": _rounded(manifest.metrics.named()),
        "baseline": _rounded(manifest.metrics.baseline or {}),
        "reasons": list(published.verdict.reasons),
        "comparisons": [asdict(each) for each in published.verdict.comparisons],
    }


def _rounded(named: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in named.items() if value is not None}


def skipped(same: Manifest, run_id: str) -> Mapping[str, object]:
    """What a run that had nothing to do came to, for the termination message (JSON values)."""
    return {"outcome": "skipped", "run_id": run_id, "model": same.name, "version": same.version}

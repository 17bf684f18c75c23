"""What a run says of itself: library versions, the manifest's draft, the termination message."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from job import __version__
from job.registry import Published
from job.registry.manifest import DataRecord, Draft, Manifest, Scores, input_of
from job.report.page import Record

if TYPE_CHECKING:
    from job.device import DeviceInfo

LIBRARIES = ("keras", "tensorflow", "numpy")
"""The libraries that decide a model's bits."""


def library_versions() -> Mapping[str, str]:
    """Python, this package and the libraries that decide a model's bits → version."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"mlp-job": __version__, "python": platform.python_version(), **libraries}


def draft(
    record: Record, info: "DeviceInfo", attempt: str, made_from: str, *, exact: bool | None
) -> Draft:
    """What the manifest says of a run, as far as it is known before publishing.

    Args:
        record: The run.
        info: What it trained on.
        attempt: The identity of this try.
        made_from: What the model was made from, as one hash; see `job.registry.fingerprint`.
        exact: Whether resuming gives the same bits; None when nothing was resumed.
    """
    dataset, metrics = record.dataset, record.metrics
    return Draft(
        run_id=record.run_id,
        attempt=attempt,
        data=DataRecord(
            uri=dataset.uri,
            test_uri=record.config.data.test_data,
            digest=dataset.digest,
            train_rows=len(dataset.fit_rows),
            validation_rows=len(dataset.validation_rows),
            test_rows=len(dataset.test),
        ),
        classes=dataset.classes,
        input=input_of(dataset),
        config=record.config.flat(),
        library_versions=record.library_versions,
        device=asdict(info),
        seconds=round(sum(record.seconds.values()), 3),
        metrics=Scores(
            accuracy=metrics.accuracy,
            accuracy_interval=metrics.accuracy_interval,
            loss=metrics.loss,
        ),
        verdict=record.verdict,
        fingerprint=made_from,
        exact=exact,
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
        "metrics": {"accuracy": manifest.metrics.accuracy, "loss": manifest.metrics.loss},
        "reasons": list(published.verdict.reasons),
        "comparisons": [asdict(each) for each in published.verdict.comparisons],
    }


def skipped(same: Manifest, run_id: str) -> Mapping[str, object]:
    """What a run that had nothing to do came to, for the termination message (JSON values)."""
    return {"outcome": "skipped", "run_id": run_id, "model": same.name, "version": same.version}

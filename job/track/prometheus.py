"""A run's figures for Prometheus: a file for the textfile collector, or a push to a Pushgateway.

Names and units: https://prometheus.io/docs/practices/naming/.
"""

import contextlib
import os
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from job.config.process import ProcessOptions
from job.errors import UsageError
from job.record import Outcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

TIMEOUT = 10.0
"""Seconds for which a Pushgateway may keep the run from ending."""

LAST_SUCCESS = "mlp_job_last_success_timestamp_seconds"


@dataclass(frozen=True, kw_only=True)
class NotWritten:
    """The figures could not be written to a file."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NotPushed:
    """The figures could not be pushed to a gateway."""

    url: str
    reason: str


def check(path: str | None) -> None:
    """Rejects a file that cannot be written, before any work is done for its figures.

    Raises:
        UsageError: Its folder is not there or not writable, or it is a folder itself.
    """
    if path is None:
        return
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir() or Path(path).is_dir():
        raise UsageError(
            f"--metrics-file: expected a file in a folder that can be written. Received: {path!r}.",
            hint=f"Make the folder, or let user {os.getuid()}, as whom the job runs, write there.",
        )


def report(options: ProcessOptions, outcome: Outcome) -> list[NotWritten | NotPushed]:
    """Writes and pushes the figures, as asked for.

    Args:
        options: They name the file and the gateway.
        outcome: The time of the last success is now, but for a rejection, after which it stays
            what it was.

    Returns:
        What failed; it does not change the run's end.
    """
    from prometheus_client import pushadd_to_gateway, write_to_textfile

    failures: list[NotWritten | NotPushed] = []
    rejected = outcome.verdict is not None and not outcome.verdict.promote
    now = None if rejected else time.time()
    path, url = options.metrics_file, options.metrics_gateway
    if path:
        figures = _figures(outcome, now or _last_success(path))
        try:
            write_to_textfile(path, figures)
        except OSError as exc:
            failures.append(NotWritten(path=path, reason=str(exc.strerror)))
    if url:
        figures = _figures(outcome, now)
        where = {"model": outcome.manifest.name}
        try:  # keeps the figures at the gateway that are not pushed
            pushadd_to_gateway(url, "mlp-job", figures, grouping_key=where, timeout=TIMEOUT)
        except (OSError, HTTPException) as exc:
            failures.append(NotPushed(url=url, reason=str(exc)))
    return failures


def _figures(outcome: Outcome, last: float | None) -> "CollectorRegistry":
    """The run's figures; without the time of the last success when there is none."""
    from prometheus_client import CollectorRegistry, Gauge

    manifest = outcome.manifest
    registry = CollectorRegistry()

    def gauge(name: str, about: str, value: float, **labels: str) -> None:
        found = gauges.get(name) or Gauge(name, about, ["model", *labels], registry=registry)
        gauges[name] = found
        found.labels(manifest.name, *labels.values()).set(value)

    gauges: dict[str, Gauge] = {}
    if last:
        gauge(LAST_SUCCESS, "When a run last promoted a model or had nothing to do.", last)
    passed = float((outcome.verdict or manifest.verdict).promote)
    gauge("mlp_job_gate_passed", "1 when the last model was promoted, 0 when not.", passed)
    gauge("mlp_job_version", "Number of the last model.", manifest.version)
    gauge(
        "mlp_job_test_accuracy_ratio", "Its accuracy on the test rows.", manifest.metrics.accuracy
    )
    for score, value in manifest.metrics.named().items():
        if value is not None:
            gauge("mlp_job_test_score", "Its scores on the test rows.", value, score=score)
    for score, value in (manifest.metrics.baseline or {}).items():
        if value is not None:
            about = "The scores of a model that knows the classes' shares only."
            gauge("mlp_job_test_baseline_score", about, value, score=score)
    resumed = float(manifest.exact is not None)
    gauge("mlp_job_resumed", "1 when its run went on from a checkpoint, 0 when not.", resumed)
    rows = manifest.data
    for split, count in (
        ("train", rows.train_rows),
        ("validation", rows.validation_rows),
        ("test", rows.test_rows),
    ):
        gauge("mlp_job_data_rows", "Rows of its data.", count, split=split)
    for phase, value in outcome.seconds.items():
        name = phase.replace(" ", "_")
        gauge("mlp_job_phase_duration_seconds", "Time of the last run.", value, phase=name)
    versions = {k.replace("-", "_"): v for k, v in sorted(manifest.library_versions.items())}
    gauge("mlp_job_build_info", "Versions that made the last model.", 1, **versions)
    return registry


def _last_success(path: str) -> float | None:
    """What an earlier run wrote there, if it did."""
    from prometheus_client.parser import text_string_to_metric_families

    with contextlib.suppress(OSError, ValueError):
        for family in text_string_to_metric_families(Path(path).read_text()):
            for sample in family.samples:
                if sample.name == LAST_SUCCESS:
                    return float(sample.value)
    return None

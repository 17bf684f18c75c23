"""The figures of a run, pushed to a gateway."""

from dataclasses import replace
from pathlib import Path

import gateway as gateways
import pytest

from job.config.process import ProcessOptions
from job.record import Outcome
from job.registry.manifest import Manifest
from job.storage.documents import decode
from job.track import prometheus
from job.track.prometheus import NotPushed, NotWritten

STORE = Path(__file__).parents[2] / "stores/schema-1/corners"
LAST_SUCCESS = ("mlp_job_last_success_timestamp_seconds", "corners")


@pytest.fixture
def manifest() -> Manifest:
    file = STORE / "versions/1/manifest.json"
    return decode(file.read_bytes(), Manifest, uri=str(file))


def report(url: str, manifest: Manifest, *, promoted: bool | None) -> list[NotWritten | NotPushed]:
    verdict = None if promoted is None else replace(manifest.verdict, promote=promoted)
    outcome = Outcome(run_id="a", manifest=manifest, verdict=verdict, seconds={"check store": 2.0})
    return prometheus.report(ProcessOptions(metrics_gateway=url), outcome)


def test_a_push_replaces_the_models_figures_by_name(manifest: Manifest) -> None:
    with gateways.serve() as gateway:
        report(gateway.url, manifest, promoted=True)
        report(gateway.url, manifest, promoted=False)
    (first, second) = gateway.pushes
    for method, path, _ in gateway.pushes:  # POST keeps the figures that it does not name
        assert (method, path) == ("POST", "/metrics/job/mlp-job/model/corners")
    assert first[2]["mlp_job_gate_passed", "corners"] == 1
    assert first[2]["mlp_job_phase_duration_seconds", "corners", "check_store"] == 2
    assert first[2][LAST_SUCCESS] > 0
    assert second[2]["mlp_job_gate_passed", "corners"] == 0
    assert LAST_SUCCESS not in second[2]  # so the gateway keeps the last one


def test_a_gateway_that_fails_is_reported(manifest: Manifest) -> None:
    url = "http://127.0.0.1:9"
    (failure,) = report(url, manifest, promoted=None)
    assert isinstance(failure, NotPushed)
    assert failure.url == url
    assert "refused" in failure.reason

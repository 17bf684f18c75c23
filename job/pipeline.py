"""The job's story: read this and you have read the job."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from job import device, evaluation, events, export, provenance, training
from job.config import Config
from job.errors import GateRejected
from job.experiment import read, train
from job.gate import contest
from job.models import mlp
from job.process import log, shutdown
from job.process.scratch import scratch
from job.process.timing import Clock
from job.registry import Registry, runs
from job.registry.championship import Decide
from job.registry.fingerprint import expect_same, fingerprint, twin
from job.registry.manifest import Draft, Manifest
from job.report import artifacts, page
from job.storage import Access, open_store, use
from job.storage.patient import Patient
from job.track import prometheus
from job.training.checkpoint import discard

CHECKED_ROWS = 1000
"""Test rows on which the published files are compared with the trained model."""

TREND = 20
"""Versions that the report's trend line goes back."""


def run(config: Config) -> Mapping[str, object]:
    """Trains, evaluates and publishes one model.

    Returns:
        What the run came to, for the termination message (JSON values).

    Raises:
        GateRejected: The model was published and not promoted.
        JobError: Any other end that somebody acts on; see `job.errors`.
    """
    clock = Clock()
    fresh = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    own_id = config.publishing.run_id or config.publishing.default_run_id or fresh
    # A container that is started again in its pod has the pod's name, and files of its own.
    attempt = "-".join(filter(None, (config.publishing.attempt, secrets.token_hex(4))))
    _bind(own_id, attempt)
    events.run_started(config, own_id)
    prometheus.check(config.process.metrics_file)

    use(Access.of(config.data, config.publishing))
    store = Patient(
        open_store(config.publishing.store), config.publishing.store_timeout, events.report
    )
    registry = Registry(store, config.model_name)
    with clock.phase("check store"):
        run_id, published = runs.check(registry, own_id)
    store.admit()
    if published:
        made_from = published.manifest.fingerprint or ""
    else:
        with clock.phase("fingerprint"):
            versions = provenance.library_versions()
            made_from = fingerprint(config, versions, store.at)
            same = twin(registry, config, made_from) if config.publishing.skip_unchanged else None
        if same:
            return _skip(config, same, run_id, clock)
        resume = config.publishing.resume_unfinished and not config.publishing.run_id
        run_id = runs.begin(registry, run_id, made_from, resume=resume)
    if run_id != own_id:
        _bind(run_id, attempt)
        events.run_continued(run_id)
    with (
        shutdown.resumable(),
        runs.marked(registry, run_id, made_from, events.run_unmarked),
        scratch() as folder,
    ):
        if published:
            dataset = read(config, folder, store)
            expect_same(config, dataset.digest, published.manifest)
            judge = contest.retrial(registry, published, config, events.data_warned)
            publish = partial(registry.challenge, published, judge)
        else:
            folder /= "version"
            draft, judge = make(config, registry, store, run_id, attempt, made_from, folder, clock)
            publish = partial(registry.publish, folder, draft, judge)
        with clock.phase("publish"):
            published = publish()
            discard(store, f"{config.model_name}/runs/{run_id}")
    if published.verdict != published.manifest.verdict:
        events.decided(published.verdict)  # the champion had changed
    events.published(published, config.publishing.store)
    events.run_ended(clock.seconds)
    prometheus.report(
        config.process,
        published.manifest,
        promoted=published.verdict.promote,
        seconds=clock.seconds,
    )

    outcome = provenance.outcome(published)
    if not published.verdict.promote and not config.gate.rejection_ok:
        raise GateRejected(
            "Expected a model that may become the champion. Received: version "
            f"{published.manifest.version}. " + " ".join(published.verdict.reasons),
            hint=f"`mlp-job compare champion {outcome['version']}` shows the two side by side; "
            f"`mlp-job promote {outcome['version']}` decides by hand.",
            details=outcome,
        )
    return outcome


def make(
    config: Config,
    registry: Registry,
    store: Patient,
    run_id: str,
    attempt: str,
    made_from: str,
    folder: Path,
    clock: Clock,
) -> tuple[Draft, Decide]:
    """From data to a folder that is ready to be published.

    Args:
        config: What the run was told.
        registry: The models to compare with.
        store: Where its checkpoints are.
        run_id: Its identity.
        attempt: The identity of this try.
        made_from: The fingerprint.
        folder: Where the version's files go; data is staged beside it.
        clock: Gets the seconds of each phase.

    Returns:
        What the manifest says, and how the version is judged should the champion change.
    """
    folder.mkdir()
    with export.Check() as check:  # a process of its own, which imports its libraries meanwhile
        made = train(config, registry, store, run_id, folder.parent, clock)
        dataset, network = made.dataset, made.network
        with clock.phase("evaluate"):
            probabilities = training.predict(network, dataset.test.x)
            metrics = evaluation.evaluate(probabilities, dataset.test.y, dataset.classes)
        events.evaluated(metrics)
        with clock.phase("export"):
            schema = dataset.table.schema if dataset.table else None
            export.write(network, folder, schema)
            check.submit(folder, dataset.raw_test(CHECKED_ROWS), schema)
        with clock.phase("compare"):
            challenger = contest.challenger(dataset, probabilities, metrics, made_from)
            judge = contest.judge(registry, challenger, config)
            verdict, past = judge(registry.champion()), registry.recent(TREND)
        events.decided(verdict, reasons=verdict.promote or config.gate.rejection_ok)
        events.publishing_started(config.publishing.store)
        record = page.Record(
            config=made.config,
            dataset=dataset,
            history=made.fitted.history,
            best_epoch=made.fitted.best_epoch,
            metrics=metrics,
            probabilities=probabilities,
            verdict=verdict,
            device=made.device.name,
            library_versions=provenance.library_versions(),
            seconds=dict(clock.seconds),
            run_id=run_id,
            created=datetime.now(UTC),
            parameters=mlp.parameters(network),
            peak_memory_mb=device.peak_memory_mb(),
            gpu_peak_memory_mb=device.gpu_peak_memory_mb(),
            past=past,
        )
        with clock.phase("report"):
            page.render(folder, record)
        with clock.phase("check"):
            check.result(probabilities[:CHECKED_ROWS], export.tolerance(network))
    record = replace(record, seconds=dict(clock.seconds))
    artifacts.write(folder, record, rows_per_second=made.fitted.rows_per_second)
    return provenance.draft(record, made.device, attempt, made_from, exact=made.exact), judge


def _bind(run_id: str, attempt: str) -> None:
    """Names the run in every following log line and in the termination message."""
    log.bind({"run.id": run_id, "run.attempt": attempt})
    shutdown.note(run_id=run_id)


def _skip(config: Config, same: Manifest, run_id: str, clock: Clock) -> Mapping[str, object]:
    events.run_skipped(same)
    prometheus.report(config.process, same, promoted=None, seconds=clock.seconds)
    return provenance.skipped(same, run_id)

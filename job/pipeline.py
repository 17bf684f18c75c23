"""The job's story: check, read, fit, evaluate, gate, export, report, publish."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from job import device, events, export, record
from job.config import Config
from job.data.dataset import Dataset
from job.drift import changes
from job.errors import GateRejected
from job.experiment import Saves, Watch, inherited, prepare, read, train_and_score
from job.gate import contest
from job.process import log, shutdown
from job.process.scratch import scratch
from job.process.timing import Clock
from job.record import Identity, Record
from job.registry import Published, Versions, publish, runs
from job.registry.fingerprint import expect_same_source, fingerprint, sources_of, unchanged
from job.report import artifacts, page
from job.storage import Access, open_store, use
from job.storage.patient import Patient
from job.track import prometheus
from job.training.checkpoint import discard
from job.versions import library_versions

CHECKED_ROWS = 1000
"""Test rows on which the published files are compared with the trained model."""

WATCH = Watch(
    planned=events.planned,
    epoch_ended=events.epoch_ended,
    member_dropped=events.member_dropped,
    time_limited=events.time_limited,
    checkpoint=events.report,
)
"""Logs what happens in training."""

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
    clock, options = Clock(), config.publishing
    fresh = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    own_id = options.run_id or options.default_run_id or fresh
    # A container that is started again in its pod has the pod's name, and files of its own.
    attempt = "-".join(filter(None, (options.attempt, secrets.token_hex(4))))
    _bind(own_id, attempt)
    events.run_started(config, own_id)
    prometheus.check(config.process.metrics_file)
    use(Access.of(config.data, options))
    store = Patient(open_store(options.store), options.store_timeout, events.report)
    versions = Versions(store, config.model_name)

    with clock.phase("check store"):
        run_id, published = runs.check(versions, own_id)
    store.admit()
    made_from = published.manifest.source if published else None
    if not published:
        with clock.phase("fingerprint"):
            sources = sources_of(config, library_versions(), store.at)
            made_from = sources[-1]
            same = unchanged(versions, config, sources) if options.skip_unchanged else None
        if same:
            events.run_skipped(same)
            prometheus.report(config.process, same, promoted=None, seconds=clock.seconds)
            return record.skipped(same, run_id)
        resume = options.resume_unfinished and not options.run_id
        run_id = runs.begin(versions, run_id, made_from, resume=resume)
    if run_id != own_id:
        _bind(run_id, attempt)
        events.run_continued(run_id)

    with (
        shutdown.resumable(),
        runs.marked(versions, run_id, made_from or "", events.run_unmarked),
        scratch() as folder,
    ):
        challenger = None
        recipe = inherited(versions, published.manifest if published else None)
        load = partial(store.retry, partial(read, config, folder, store.at, recipe))
        if published:
            expect_same_source(config, published.manifest, store.at, load)
        else:
            identity = Identity(run_id=run_id, attempt=attempt, source=made_from)
            made, challenger = make(config, versions, load, identity, folder / "version", clock)
            with clock.phase("publish"):
                published = publish.publish(versions, folder / "version", made.draft())
        with clock.phase("publish"):
            published = contest.settle(versions, published, config, challenger, events.data_warned)
            discard(store, f"{config.model_name}/runs/{run_id}")
    if published.verdict != published.manifest.verdict:
        events.decided(published.verdict)  # the champion had changed
    return conclude(config, published, clock)


def make(
    config: Config,
    versions: Versions,
    load: Callable[[], Dataset],
    identity: Identity,
    folder: Path,
    clock: Clock,
) -> tuple[Record, contest.Challenger]:
    """From data to a folder that is ready to be published.

    Args:
        config: The options.
        versions: The models to compare with; their store holds the run's checkpoints, too.
        load: Reads the data.
        identity: Which run this is, and which try at it.
        folder: Is made; gets the version's files.
        clock: Gets the seconds of each phase.

    Returns:
        What the run came to, and the new model as the gate sees it.
    """
    folder.mkdir()
    with export.Check() as check:  # a process of its own, which imports its libraries meanwhile
        info, dataset = prepare(config, load, clock)
        events.device_ready(info)
        events.data_loaded(dataset)
        events.data_changed(*changes.since_champion(versions, dataset))
        saves = Saves(store=versions.store, name=versions.name, run_id=identity.run_id)
        fit = train_and_score(config, dataset, info, clock=clock, saves=saves, watch=WATCH)
        events.evaluated(fit.metrics)
        with clock.phase("export"):
            schema = dataset.table.schema if dataset.table else None
            export.write(
                fit.network,
                folder,
                schema,
                classes=dataset.classes,
                threshold=fit.metrics.threshold,
            )
            check.submit(folder, dataset.raw_test(CHECKED_ROWS), schema)
        with clock.phase("compare"):
            made_from = fingerprint(fit.config, dataset.digest, library_versions())
            metric, why = contest.choose_metric(config, contest.reigning(versions), dataset)
            events.metric_chosen(metric, why)
            challenger = contest.challenger(dataset, fit, metric, made_from)
            verdict = contest.judge(versions, challenger, versions.champion(), config)
            past = versions.recent(TREND)
        events.decided(verdict, reasons=verdict.promote or config.gate.rejection_ok)
        events.publishing_started(versions.store.uri)
        made = Record(
            **vars(identity),
            config=fit.config,
            dataset=dataset,
            history=fit.fitted.history,
            best_epoch=fit.fitted.best_epoch,
            metrics=fit.metrics,
            probabilities=fit.probabilities,
            metric=metric,
            training_auc=fit.training_auc,
            verdict=verdict,
            device=info,
            library_versions=library_versions(),
            seconds=dict(clock.seconds),
            exact=fit.exact,
            created=datetime.now(UTC),
            parameters=fit.parameters,
            rows_per_second=fit.fitted.rows_per_second,
            peak_memory_mb=device.peak_memory_mb(),
            gpu_peak_memory_mb=device.gpu_peak_memory_mb(),
            past=past,
            validation=fit.fitted.validation_scores(dataset),
            notes=fit.notes,
            time_limited=fit.fitted.time_limited,
        )
        with clock.phase("report"):
            page.render(folder, made)
        with clock.phase("check"):
            check.result(fit.probabilities[:CHECKED_ROWS], export.tolerance(fit.network))
    made = replace(made, seconds=dict(clock.seconds))
    artifacts.write(folder, made)
    return made, challenger


def conclude(config: Config, published: Published, clock: Clock) -> Mapping[str, object]:
    """Reports how a run ended; returns and raises as `run`."""
    promoted = published.verdict.promote
    prometheus.report(config.process, published.manifest, promoted=promoted, seconds=clock.seconds)
    events.published(published, config.publishing.store)
    events.run_ended(clock.seconds)
    outcome = record.outcome(published)
    if not promoted and not config.gate.rejection_ok:
        raise GateRejected(
            "Expected a model that may become the champion. Received: version "
            f"{published.manifest.version}. " + " ".join(published.verdict.reasons),
            hint=_after_rejection(published),
            details=outcome,
        )
    return outcome


def _after_rejection(published: Published) -> str:
    name, version = published.manifest.name, published.manifest.version
    compare = f"`mlp-job compare champion {version} --name {name}` shows both side by side; "
    promote = f"`mlp-job promote {version} --name {name}` makes it the champion by hand."
    return promote if published.verdict.champion is None else compare + promote


def _bind(run_id: str, attempt: str) -> None:
    """Names the run in every following log line and in the termination message."""
    log.bind({"run.id": run_id, "run.attempt": attempt})
    shutdown.note(run_id=run_id)

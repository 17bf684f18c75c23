"""The job's story: check, read, fit, evaluate, gate, export, report, publish."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from job import device, events, export
from job.config import Config
from job.drift import changes
from job.experiment import (
    Load,
    Saves,
    column_importance,
    inherited,
    loading,
    mistake_occlusions,
    prepare,
    train_and_score,
)
from job.follow import met
from job.gate import contest
from job.models.plan import resumed
from job.process.scratch import scratch
from job.process.timing import Clock
from job.record import Fit, Outcome, Record
from job.registry import Versions, publish, runs
from job.registry.fingerprint import expect_same_source, recognized
from job.registry.runs import Identity
from job.report import artifacts, page
from job.storage import Access, open_store, use
from job.storage.patient import Patient
from job.training.checkpoint import discard

if TYPE_CHECKING:
    from job.device.peers import Peers


def run(config: Config, peers: "Peers | None" = None) -> Outcome:
    """Trains, evaluates and publishes one model, unless nothing has changed.

    Args:
        config: The options.
        peers: Hosts that train along, of which this is worker 0; see `job.follow`.

    Raises:
        JobError: An end that somebody acts on; see `job.errors`.
    """
    clock, options = Clock(), config.publishing
    own = Identity.of(options)
    events.run_started(config, own)
    use(Access.of(config.data, options))
    store = Patient(open_store(options.store), options.store_timeout, events.report)
    versions = Versions(store, config.model_name)
    with clock.phase("check store"):
        this, published = runs.check(versions, own)
    store.admit()
    if not published:
        with clock.phase("fingerprint"):
            source, same = recognized(versions, config, store.at)
        if same:
            return Outcome(run_id=this.run_id, manifest=same, seconds=clock.seconds)
        this = runs.begin(versions, replace(this, source=source), resume=options.may_resume)
    if this.run_id != own.run_id:
        events.run_continued(this)
    with runs.marked(versions, this, events.run_unmarked), scratch() as folder:
        recipe = inherited(versions, published.manifest if published else None)
        load = loading(store, folder, recipe)
        challenger = None
        if published:
            closed = resumed(config, published.manifest.config)
            expect_same_source(config, published.manifest, store.at, partial(load, closed))
        else:
            peers = met(config, versions, this, recipe, peers)
            made, challenger = make(config, versions, load, this, folder / "version", clock, peers)
            with clock.phase("publish"):
                published = publish.publish(
                    versions, folder / "version", made.draft(), made.version
                )
        with clock.phase("publish"):
            published = contest.settle(versions, published, config, challenger, events.data_warned)
            discard(store, f"{versions.name}/runs/{this.run_id}")
    verdict = published.verdict
    if verdict != published.manifest.verdict:
        events.decided(verdict)  # the champion had changed
    return Outcome(
        run_id=this.run_id, manifest=published.manifest, verdict=verdict, seconds=clock.seconds
    )


def make(
    config: Config,
    versions: Versions,
    load: Load,
    this: Identity,
    folder: Path,
    clock: Clock,
    peers: "Peers | None" = None,
) -> tuple[Record, contest.Challenger]:
    """From data to a folder that is ready to be published, and the model as the gate sees it."""
    folder.mkdir()
    with export.Check() as check:
        info, dataset = prepare(
            config, partial(load, config), clock, imported=check.start, peers=peers
        )
        events.device_ready(info)
        events.data_loaded(dataset)
        events.data_changed(*changes.since_champion(versions, dataset))
        saves = Saves(store=versions.store, name=versions.name, run_id=this.run_id)
        fit = train_and_score(
            config,
            dataset,
            info,
            clock=clock,
            load=load,
            saves=saves,
            watch=events.WATCH,
            peers=peers,
        )
        events.evaluated(fit.metrics)
        made, challenger = record(fit, versions, this, folder, clock, check)
    made = replace(made, seconds=dict(clock.seconds))
    artifacts.write(folder, made)
    return made, challenger


def record(
    fit: Fit, versions: Versions, this: Identity, folder: Path, clock: Clock, check: export.Check
) -> tuple[Record, contest.Challenger]:
    """From a trained model to its exports, verdict and report; `check` proves the exports."""
    dataset, threshold = fit.dataset, fit.metrics.threshold
    with clock.phase("export"):
        export.write(
            fit.network, folder, dataset.schema, classes=dataset.classes, threshold=threshold
        )
        check.submit(folder, dataset.raw_test(export.CHECKED_ROWS), dataset.schema)
    with clock.phase("compare"):
        metric, why = contest.choose_metric(versions, fit.config, dataset)
        events.metric_chosen(metric, why, fit.metrics)
        challenger = contest.challenger(dataset, fit, metric)
        verdict = contest.judge(versions, challenger, versions.champion())
        past = versions.recent()
    events.decided(verdict, reasons=verdict.promote or fit.config.gate.rejection_ok)
    events.publishing_started(versions.store.uri)
    with clock.phase("importance"):
        importance, occlusions = column_importance(fit, metric), mistake_occlusions(fit)
    made = Record(
        **vars(this),
        **vars(fit),
        version=publish.claim(versions, this.run_id, this.attempt),
        importance=importance,
        occlusions=occlusions,
        metric=metric,
        verdict=verdict,
        past=past,
        seconds=dict(clock.seconds),
        peak_memory_mb=device.peak_memory_mb(),
        gpu_peak_memory_mb=device.gpu_peak_memory_mb(),
    )
    with clock.phase("report"):
        page.render(folder, made)
    with clock.phase("check"):
        check.result(
            fit.probabilities[: export.CHECKED_ROWS],
            export.tolerance(fit.network),
            classes=dataset.classes,
            threshold=threshold,
        )
    return made, challenger

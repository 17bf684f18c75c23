"""The events of a run: each as a machine reads it, and in one line for a person."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from job.config import Config
from job.config.gate import Metric
from job.config.training import parse_threshold
from job.data.dataset import Dataset
from job.data.findings import Finding, sentence
from job.errors import JobError
from job.evaluation.metrics import Metrics
from job.evaluation.scores import TITLES
from job.experiment import Watch
from job.process import log, shutdown
from job.process.log import INFO, WARNING, event
from job.registry.verdict import Verdict
from job.storage.patient import Retry
from job.track.prometheus import NotPushed, NotWritten
from job.training.checkpoint import Notice, NotSaved, Resumed, Saved, Slow, Unusable

if TYPE_CHECKING:
    from job.device import DeviceInfo
    from job.models.plan import Plan
    from job.record import Outcome
    from job.registry.manifest import Manifest
    from job.registry.runs import Identity
    from job.training import Fitted
    from job.training.devices import Speedup
    from job.training.free_text import Trial
    from job.training.state import EpochResult, Position

A_MINUTE = 60.0
"""Seconds; by so many the second epoch must lower the first one's estimate to be worth a line."""


def run_started(config: Config, run: "Identity") -> None:
    """A run begins; every following event names it."""
    _bind(run)
    event(
        "run.started",
        f"Run {run.run_id}: training {config.model_name} on {config.data.data}; "
        f"the model goes to {config.publishing.store}.",
        model=config.model_name,
        config=config.flat(),
    )


def run_followed(config: Config, run: "Identity", index: int) -> None:
    """Another host than worker 0 begins; every following event has its number."""
    log.bind({"worker": index})
    _bind(run)
    event(
        "run.followed",
        f"Worker {index} trains {config.model_name} along on {config.data.data}; worker 0 "
        "publishes.",
        model=config.model_name,
        worker=index,
    )


def peers_met(hosts: int) -> None:
    """All hosts are there, with the same version and options."""
    event("peers.met", f"{hosts} hosts train together.", hosts=hosts)


def following_ended(index: int) -> None:
    """Worker 0 has ended well."""
    event("run.ended", f"Worker {index} is done: worker 0 has ended well.", exit_code=0)


def run_continued(run: "Identity") -> None:
    """The job resumes an unfinished run in place of its own; every following event names that."""
    _bind(run)
    event(
        "run.continued",
        f"Resuming run {run.run_id}, which did not finish, in place of a new run.",
    )


def _bind(run: "Identity") -> None:
    """Names the run in every following log line and in the termination message."""
    log.bind({"run.id": run.run_id, "run.attempt": run.attempt})
    shutdown.note(run_id=run.run_id)


def run_unmarked(error: JobError) -> None:
    """The store did not take the mark of a failed run: a later job may resume it."""
    event(
        "run.unmarked",
        "The run failed, and the store did not record it: set --no-resume-unfinished for the "
        f"next one. {error.message}",
        level=WARNING,
    )


def device_ready(info: "DeviceInfo") -> None:
    """The device did real work."""
    event("device.ready", f"Device: {info.kind.upper()}, {info.title}.", device=asdict(info))


def data_loaded(dataset: Dataset) -> None:
    """The data was read and checked."""
    shape = "×".join(map(str, dataset.shape))
    row = f"{shape} {dataset.dtype}"
    if dataset.table:
        row = _counted(len(dataset.table.schema.columns), "column")
    rows = {
        "train": len(dataset.fit_rows),
        "validation": len(dataset.validation_rows),
        "test": len(dataset.test),
    }
    of = dataset.held_out_of
    held_out = f" ({rows['test']:,} of {of:,} rows held out by a hash)" if of else ""
    event(
        "data.loaded",
        f"Data: {rows['train']:,} rows to train, {rows['validation']:,} to validate, "
        f"{rows['test']:,} to test{held_out}; {row}, {_counted(len(dataset.classes), 'class')}.",
        rows=rows,
        shape=list(dataset.shape),
        dtype=dataset.dtype,
        classes=list(dataset.classes[:100]),
        class_count=len(dataset.classes),
        digest=dataset.digest,
        duplicates=dataset.duplicates,
        held_out_of=of,
    )
    if dataset.table:
        columns = dataset.table.schema.columns
        shown = ", ".join(f"{column.name} ({column.kind})" for column in columns[:12])
        event(
            "columns.found",
            f"Columns: {shown}" + (f" and {len(columns) - 12} more." if len(columns) > 12 else "."),
            columns={column.name[:200]: column.kind for column in columns[:1000]},
        )
    for finding in dataset.findings:
        data_warned(finding)


def data_changed(version: int, changes: Sequence[str]) -> None:
    """The columns differ from those of the champion, if there are changes; the run goes on."""
    if not changes:
        return
    event(
        "data.changed",
        f"Since version {version}: {'; '.join(changes)}.",
        level=WARNING,
        version=version,
        changes=list(changes),
    )


def data_warned(finding: Finding) -> None:
    """Something about the data that a person should know; the run goes on."""
    event(
        "data.warned",
        sentence(finding),
        level=WARNING,
        code=finding.code,
        column=finding.column[:200],
        count=finding.count,
    )


def report(notice: Notice | Retry) -> None:
    """What training or a store reports while it works."""
    match notice:
        case Resumed(position=position, exact=exact, elsewhere=elsewhere):
            where = " on different hardware or versions" if elsewhere else ""
            event(
                "run.resumed",
                f"Resuming after {_where(position)}{where}"
                + ("." if exact else "; results will not be bit-identical."),
                epoch=position.epoch,
                step=position.step,
                exact=exact,
            )
        case Saved(position=position, size=size, seconds=seconds, store=store):
            event(
                "checkpoint.saved",
                f"Checkpoint after {_where(position)}: {size / 1e6:.1f} MB in {seconds:.2f} s, "
                f"in {store}.",
                epoch=position.epoch,
                step=position.step,
                bytes=size,
                seconds=round(seconds, 4),
                store=store,
            )
        case NotSaved(error=error):
            event(
                "checkpoint.failed",
                f"Could not save a checkpoint; training continues. {error.message}",
                level=WARNING,
            )
        case Unusable(error=error):
            event(
                "checkpoint.refused",
                f"Ignoring a checkpoint. {error.message}",
                level=WARNING,
                hint=error.hint,
            )
        case Slow(size=size, seconds=seconds, grace=grace):
            event(
                "checkpoint.slow",
                f"A checkpoint of {size / 1e6:.0f} MB takes {seconds:.1f} s. Expected at most "
                f"{grace:.0f} s: after SIGTERM the last one saved in time counts.",
                level=WARNING,
                bytes=size,
                seconds=round(seconds, 4),
            )
        case Retry(error=error, pause=pause):
            event(
                "store.failed",
                f"Retrying in {pause:.0f} s. {error.message}",
                level=WARNING,
                pause=pause,
            )


def _where(position: "Position") -> str:
    if position.finished:
        return "the last epoch"
    if position.step:
        return f"step {position.step} of epoch {position.epoch + 1}"
    return f"epoch {position.epoch}"


def epoch_ended(results: "Sequence[EpochResult]", epochs: int) -> None:
    """One pass over the training rows, the last of those so far."""
    result = results[-1]
    validation = (
        ""
        if result.val_loss is None
        else f"   val_loss {result.val_loss:.4f}   val_accuracy {result.val_accuracy:.4f}"
    )
    event(
        "epoch.ended",
        f"Epoch {result.epoch:>{len(str(epochs))}}/{epochs}   {result.seconds:6.2f} s"
        f"   loss {result.loss:.4f}   accuracy {result.accuracy:.4f}{validation}",
        **asdict(result),
    )
    seconds = results[0].seconds + result.seconds * (epochs - 1)
    much_less = result.epoch == 2 and results[0].seconds * epochs - seconds > A_MINUTE
    if epochs > 1 and (result.epoch == 1 or much_less):
        event(
            "training.estimated",
            f"Training will take at most {seconds:,.0f} s: {_counted(epochs, 'epoch')} of "
            f"{result.seconds:.2f} s.",
            seconds=round(seconds, 1),
        )


def text_tried(trials: "tuple[Trial, ...]") -> None:
    """Columns of free text were tried, and each is learned from or not."""
    event(
        "text.tried",
        " ".join(map(str, trials)) + " --text and --exclude decide otherwise.",
        trials=[asdict(each) for each in trials[:100]],
    )


def planned(plan: "Plan") -> None:
    """The network was chosen."""
    model, training = plan.config.model, plan.config.training
    units = "channels" if "cnn" in model.model else "units"
    layers = f"{' and '.join(map(str, model.hidden or ())) or 'no'} {units}"
    members = f"{model.members} members of " if (model.members or 1) > 1 else ""
    if training.changes:
        layers += f", images changed by {', '.join(training.changes)}"
    stop = f", patience {training.patience}" if training.patience is not None else ""
    event(
        "network.planned",
        f"Network: {model.model}, {members}{layers}, dropout {model.dropout}, at most "
        f"{_counted(training.epochs or 0, 'epoch')} of batches of {training.batch_size}{stop}."
        + "".join(f" {reason}" for reason in plan.reasons),
        chosen=dict(plan.chosen),
        reasons=list(plan.reasons),
    )


def member_dropped(member: int, left: int) -> None:
    """An independent member diverged."""
    event(
        "member.dropped",
        f"Member {member} diverged and is dropped; {left} go on.",
        level=WARNING,
        member=member,
        left=left,
    )


def sped_up(speedup: "Speedup") -> None:
    """Several devices trained together."""
    event("training.sped_up", str(speedup), **asdict(speedup), efficiency=speedup.efficiency)


def time_limited(fitted: "Fitted") -> None:
    """The time limit ended training."""
    event(
        "training.limited",
        f"--time-limit ended training after {_counted(len(fitted.history), 'epoch')}, "
        f"{_counted(fitted.time_limited or 0, 'step')}; the best weights are published.",
        level=WARNING,
        epochs=len(fitted.history),
        step=fitted.time_limited,
    )


def evaluated(metrics: Metrics) -> None:
    """The model was scored on the test set."""
    low, high = metrics.accuracy_interval
    event(
        "evaluated",
        f"Test accuracy {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"loss {metrics.loss:.4f}, calibration error {metrics.calibration_error:.4f}.",
        accuracy=metrics.accuracy,
        accuracy_interval=list(metrics.accuracy_interval),
        loss=metrics.loss,
        scores=asdict(metrics.scores),
        baseline=asdict(metrics.baseline),
        calibration_error=metrics.calibration_error,
        rows=metrics.rows,
    )
    if metrics.threshold:
        chosen = metrics.threshold
        given = parse_threshold(chosen.rule)[0] == "value"
        how = "--threshold" if given else f"{chosen.rule}, on validation rows"
        event(
            "threshold.chosen",
            f"Threshold: {str(chosen.label)[:60]!r} from a probability of {chosen.value:.4g} on "
            f"({how})."
            + ("" if chosen.reached else " No threshold reaches that; this one comes closest."),
            level=INFO if chosen.reached else WARNING,
            **asdict(chosen),
        )


def metric_chosen(metric: Metric, why: str, metrics: Metrics) -> None:
    """What versions are compared by was chosen; `metrics` has the model's score and baseline."""
    score, baseline = getattr(metrics.scores, metric), getattr(metrics.baseline, metric)
    reached = "" if score is None else f": {score:.4f}, the baseline {baseline:.4f}"
    event(
        "metric.chosen",
        f"Versions are compared by {TITLES[metric]} ({why}){reached}.",
        metric=metric,
        score=score,
        baseline=baseline,
    )


def decided(verdict: Verdict, *, reasons: bool = True) -> None:
    """The gate has decided.

    Args:
        verdict: The decision.
        reasons: Whether the line for a person has them; otherwise they end the log.
    """
    event(
        "verdict",
        f"Verdict: {'promote' if verdict.promote else 'do not promote'}."
        + (" " + " ".join(verdict.reasons) if reasons else ""),
        promote=verdict.promote,
        reasons=list(verdict.reasons),
        champion=verdict.champion,
        comparisons=[asdict(each) for each in verdict.comparisons],
    )


def publishing_started(store: str) -> None:
    """The run makes what a version consists of, which takes seconds."""
    event(
        "publishing.started",
        f"Writing the report and checking the exported model; both go to {store}.",
    )


def figures_failed(failures: Sequence[NotWritten | NotPushed]) -> None:
    """Figures of the run did not reach Prometheus; that does not change the run's end."""
    for failure in failures:
        match failure:
            case NotWritten(path=path, reason=reason):
                event(
                    "metrics_file.failed",
                    "--metrics-file: expected a file that can be written. "
                    f"Received: {path!r}: {reason}.",
                    level=WARNING,
                )
            case NotPushed(url=url, reason=reason):
                event(
                    "metrics_push.failed",
                    f"--metrics-gateway: expected a Pushgateway at {url}. Received: {reason}.",
                    level=WARNING,
                )


def run_ended(outcome: "Outcome", store: str, exit_code: int) -> None:
    """The run's version is in the store."""
    if outcome.verdict is None:
        _skipped(outcome.manifest)
        return
    _published(outcome.manifest, store, outcome.verdict)
    if exit_code:
        return  # the error ends the log
    seconds = outcome.seconds
    longest = sorted(seconds.items(), key=lambda item: -item[1])[:4]
    event(
        "run.ended",
        f"Done in {sum(seconds.values()):.1f} s: "
        + ", ".join(f"{phase} {value:.1f} s" for phase, value in longest)
        + ".",
        exit_code=exit_code,
        seconds=dict(seconds),
    )


def _skipped(same: "Manifest") -> None:
    event(
        "run.skipped",
        f"Nothing to do: data, configuration and versions are those of version {same.version} of "
        f"{same.name}.",
        version=same.version,
        fingerprint=same.fingerprint,
        exit_code=0,
    )


def _published(manifest: "Manifest", store: str, verdict: "Verdict") -> None:
    promoted = verdict.promote
    kept = "it is not the champion" if verdict.champion is None else "the champion stays"
    version = f"{manifest.name}/versions/{manifest.version}/{manifest.attempt}"
    report = f"{store.rstrip('/')}/{version}/report.html"
    event(
        "published",
        f"Version {manifest.version} of {manifest.name} is in {store}"
        + (", and is the champion." if promoted else f"; {kept}.")
        + f" Report: {report}"
        + (f" (`mlp-job fetch {manifest.version} FOLDER --report`)" if "://" in store else ""),
        version=manifest.version,
        promoted=promoted,
        report=report,
    )


def _counted(count: int, word: str) -> str:
    plural = word + ("es" if word.endswith("s") else "s")
    return f"{count:,} {word if count == 1 else plural}"


WATCH = Watch(
    text_tried=text_tried,
    planned=planned,
    epoch_ended=epoch_ended,
    member_dropped=member_dropped,
    sped_up=sped_up,
    time_limited=time_limited,
    checkpoint=report,
)
"""Logs what happens in training."""

FOLLOWING = Watch(member_dropped=member_dropped)
"""Of other hosts than worker 0, whose log has the rest."""

"""One experiment: read the data, train on it, and score the test rows; nothing is published."""

import contextlib
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from job import data, device, evaluation, models, training
from job.config import Config
from job.config.gate import Metric
from job.data.dataset import Dataset, Published
from job.data.place import beside
from job.data.schema import Recipe
from job.errors import DataError, DataNotFound, UsageError
from job.evaluation.importance import Importance, importance
from job.evaluation.occlusion import EXPLAINED, Occlusion, occlusions
from job.evaluation.scores import mean, rankings
from job.evaluation.threshold import Threshold, choose, positive_class
from job.models import mlp, plan
from job.process import progress, shutdown
from job.process.scratch import spare
from job.process.timing import Clock
from job.record import Fit
from job.registry import Versions
from job.registry.fingerprint import run_fingerprint
from job.registry.manifest import Manifest
from job.report import pictures
from job.report.rows import Answers
from job.storage import Open, Store, open_store
from job.storage.patient import Patient
from job.training import free_text
from job.training.checkpoint import Checkpoints, Notice
from job.training.devices import ALONE, Speedup
from job.training.free_text import Trial
from job.training.state import State, shared
from job.versions import library_versions

if TYPE_CHECKING:
    from job.device.peers import Peers

SCORED_ROWS = 20_000
"""Training rows, at most, on which `Fit.training_auc` is measured."""

IMPORTANCE_SECONDS = 10.0
"""After which the measurement of the columns' importance ends; it is sized to take a few."""


def _ignore(*_: object, **__: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is called while an experiment goes on.

    Attributes:
        text_tried: With what came of trying columns of free text.
        planned: With the options, none of them open, and why.
        epoch_ended: With the results of all epochs so far, and `epochs`, how many they can be.
        member_dropped: With the number of a member that diverged, and how many are left.
        sped_up: With what several devices are worth.
        time_limited: With what came of training when the time limit ended it.
        checkpoint: With what happens to checkpoints.
    """

    text_tried: Callable[[tuple[Trial, ...]], None] = _ignore
    planned: Callable[[plan.Plan], None] = _ignore
    epoch_ended: Callable[..., None] = _ignore
    member_dropped: Callable[[int, int], None] = _ignore
    sped_up: Callable[[Speedup], None] = _ignore
    time_limited: Callable[[training.Fitted], None] = _ignore
    checkpoint: Callable[[Notice], None] = _ignore


QUIET = Watch()


@dataclass(frozen=True, kw_only=True)
class Saves:
    """Where the checkpoints of a run go.

    Attributes:
        store: The store; while it fails, a folder below TMPDIR.
        name: The model's name.
        run_id: The run.
    """

    store: Store
    name: str
    run_id: str


def inherited(versions: Versions, published: Manifest | None = None) -> Recipe | None:
    """How earlier versions chose the test rows of a table; None for a model's first one.

    Args:
        versions: The model's versions.
        published: The one that this run has published already.
    """
    found = [] if published is None else [published]
    for ref in ("champion", "latest") if published is None else ():
        with contextlib.suppress(DataError, DataNotFound):
            found.append(versions.resolve(ref))
    recipes = (Recipe.of(manifest.schema) for manifest in found if manifest.schema)
    return next(filter(None, recipes), None)


def read(
    config: Config,
    scratch: Path,
    opener: Open = open_store,
    recipe: Recipe | None = None,
    like: Manifest | None = None,
) -> Dataset:
    """The data set that the options name; what is remote is staged in a scratch folder.

    Args:
        config: The options.
        scratch: The folder.
        opener: Opens stores.
        recipe: As `inherited` gives it.
        like: The version that is made again.
    """
    published = None
    if like and like.schema:
        published = Published(schema=like.schema, classes=like.classes)
    return data.load(
        config.data.data,
        test_uri=config.data.test_data,
        validation_split=plan.holdout(config),
        scratch=Path(config.data.cache) if config.data.cache else scratch,
        reading=config.data,
        opener=opener,
        recipe=recipe,
        like=published,
    )


class Load(Protocol):
    """Reads a run's data; a recipe of test rows counts in place of the inherited one."""

    def __call__(self, config: Config, recipe: Recipe | None = None) -> Dataset:
        """The data set that the options name."""
        ...


def loading(store: Patient, scratch: Path, inherited: Recipe | None) -> Load:
    """`read` while the store has patience.

    Args:
        store: Retries.
        scratch: The folder.
        inherited: See there.
    """

    def load(config: Config, recipe: Recipe | None = None) -> Dataset:
        return store.retry(partial(read, config, scratch, store.at, recipe or inherited))

    return load


def prepare(
    config: Config,
    read: Callable[[], Dataset],
    clock: Clock,
    imported: Callable[[bool], None] = lambda _: None,
    peers: "Peers | None" = None,
) -> tuple[device.DeviceInfo, Dataset]:
    """Reads the data while the libraries are imported, and proves the device.

    Args:
        config: The options.
        read: Reads the data.
        clock: Gets the seconds of both.
        imported: Called before anything is made with the libraries, with whether they were
            imported just now.
        peers: Other hosts that train along; they are connected.
    """
    with clock.phase("import"):
        threads = ThreadPoolExecutor(2)  # this one stays free to hear signals
        reading = threads.submit(read)
        importing: Future[bool] = threads.submit(device.import_libraries)
        both: list[Future[Any]] = [reading, importing]
        if reading in wait(both, return_when=FIRST_COMPLETED).done:
            reading.result()  # bad data ends the job now
        imported(importing.result())
        info = device.prepare(
            config.training.device,
            xla=config.training.xla,
            repeatable=not plan.convolves(config),
            devices=config.training.devices,
            peers=peers,
        )
    with clock.phase("read"):  # what is left of it after the import
        return info, reading.result()


def train_and_score(
    config: Config,
    dataset: Dataset,
    info: device.DeviceInfo,
    *,
    clock: Clock,
    load: Load | None = None,
    saves: Saves | None = None,
    watch: Watch = QUIET,
    peers: "Peers | None" = None,
    limited_at: int | None = None,
) -> Fit:
    """Trains a model and scores it on the test rows; the device must be prepared.

    Args:
        config: The options; what is open is decided by the data and the device.
        dataset: The data.
        info: The device.
        clock: Gets the seconds of each phase.
        load: Reads the data again where columns of free text are to be learned from, too; without
            it there are none but those that the options name.
        saves: Where training resumes and is saved; by default nowhere.
        watch: Called while training goes on.
        peers: Hosts that train along, of which this is worker 0; see `train_along`.
        limited_at: As of `training.fit`.

    Raises:
        UsageError: The run was begun with other options or other data.
        TrainingDiverged, DeviceOutOfMemory: Training failed.
        Preempted: A signal came, and the state was saved.
    """
    if config.training.threshold and len(dataset.classes) != 2:
        raise UsageError(
            "--threshold: expected two classes to decide between. Received: "
            f"{len(dataset.classes)}.",
            hint="Leave --threshold out: the most probable class is the answer.",
        )
    checkpoints = _checkpoints(config, dataset, info, saves, watch) if saves else None
    state = None
    trials: tuple[Trial, ...] = ()
    if checkpoints:
        with clock.phase("resume"):
            state = checkpoints.latest()
    if checkpoints and state:
        decided = plan.Plan(
            config=plan.resumed(config, checkpoints.chosen),
            chosen=checkpoints.chosen or {},
            reasons=checkpoints.reasons,
        )
        dataset = _with_text(decided.config.data.text or (), config, dataset, load)
    else:
        with clock.phase("try text"):
            trials = _tried(config, dataset, load)
        if trials:
            watch.text_tried(trials)
        text = tuple(each.column for each in trials if each.kept)
        dataset = _with_text(text, config, dataset, load)
        gpu = info.kind == "gpu"
        room = device.gpu_memory_bytes() if gpu else None
        decided = plan.decide(config, dataset, gpu=gpu, device_bytes=room, text=text)
        if checkpoints:
            checkpoints.chosen = decided.chosen
            checkpoints.reasons = (*map(str, trials), *decided.reasons)
    advice = plan.worth_a_try(config, dataset)
    given, config = config.flat(), decided.config
    if info.count > 1:
        advice += (_several_devices(info.count, config),)
    decided = replace(decided, reasons=(*decided.reasons, *advice))
    watch.planned(decided)
    if peers:
        peers.agree(config.flat())
        shared(state, peers)
        _expect_same_data(dataset, peers)
    fitted = _fitted(
        config,
        dataset,
        info,
        clock,
        state,
        watch=watch,
        checkpoints=checkpoints,
        peers=peers,
        limited_at=limited_at,
    )
    if fitted.speedup:
        watch.sped_up(fitted.speedup)
    clock.add("trace", fitted.trace_seconds)
    clock.add("compile", fitted.compile_seconds)
    clock.add("run", fitted.run_seconds)
    notes = (*map(str, trials), *decided.reasons)
    if fitted.time_limited is not None:
        notes += (f"The time limit ended training after {fitted.time_limited} steps.",)
        watch.time_limited(fitted)
    with clock.phase("evaluate"), _memory(config, dataset):
        probabilities = training.predict(fitted.network, dataset.test.x)
        metrics = evaluation.evaluate(
            probabilities,
            dataset.test.y,
            dataset.classes,
            shares=dataset.shares,
            threshold=_threshold(config, dataset, fitted),
        )
        training_auc = _training_auc(dataset, fitted.network)
    exact = checkpoints.exact if checkpoints else None
    return Fit(
        config=config,
        dataset=dataset,
        device=info,
        library_versions=library_versions(),
        created=datetime.now(UTC),
        network=fitted.network,
        parameters=mlp.parameters(fitted.network),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        kept_epoch=fitted.kept_epoch,
        validation=fitted.validation_scores(dataset),
        probabilities=probabilities,
        metrics=metrics,
        training_auc=training_auc,
        rows_per_second=fitted.rows_per_second,
        speedup=fitted.speedup,
        exact=exact if fitted.time_limited is None else False,
        time_limited=fitted.time_limited,
        notes=notes,
        chosen=frozenset(name for name, value in config.flat().items() if value != given[name]),
    )


def train_along(
    config: Config,
    dataset: Dataset,
    info: device.DeviceInfo,
    peers: "Peers",
    *,
    clock: Clock,
    load: Load,
    watch: Watch = QUIET,
) -> None:
    """Trains on another host than worker 0, which decides and keeps the result.

    Args:
        config: The options.
        dataset: The data.
        info: The devices.
        peers: The hosts.
        clock: Gets the seconds of each phase.
        load: As of `train_and_score`.
        watch: Called while training goes on.

    Raises:
        DataError: The hosts have different data.
        TrainingDiverged, DeviceOutOfMemory: Training failed.
        Preempted: A signal came to one of the hosts, and the state was saved.
        PeerLost: One of them was lost.
    """
    decided = Config.recorded(peers.agree())
    state = shared(None, peers)
    dataset = _with_text(decided.data.text or (), config, dataset, load)
    _expect_same_data(dataset, peers)
    _fitted(decided, dataset, info, clock, state, watch=watch, peers=peers)


def _expect_same_data(dataset: Dataset, peers: "Peers") -> None:
    def short(value: object) -> str:
        return hashlib.sha256(repr(value).encode()).hexdigest()[:12]

    split = hashlib.sha256()
    for rows in (dataset.fit_rows, dataset.validation_rows):
        split.update(np.ascontiguousarray(rows).data)
    facts = {
        "digest": dataset.digest[:12],
        "classes": [*dataset.classes] if len(dataset.classes) < 10 else short(dataset.classes),
        "schema": short(dataset.table and dataset.table.schema),
        "rows": len(dataset.train) + len(dataset.test),
        "split": split.hexdigest()[:12],
    }
    peers.expect_same("the same data", facts, DataError)


def _fitted(
    config: Config,
    dataset: Dataset,
    info: device.DeviceInfo,
    clock: Clock,
    state: State | None,
    *,
    watch: Watch,
    checkpoints: Checkpoints | None = None,
    peers: "Peers | None" = None,
    limited_at: int | None = None,
) -> training.Fitted:
    """Builds and trains the network of a closed configuration."""
    epochs = config.training.epochs or 0
    with peers.training() if peers else contextlib.nullcontext():
        with clock.phase("build"), _memory(config, dataset):
            strategy = device.strategy(info, peers)
            several = strategy.num_replicas_in_sync > 1
            first = peers is None or peers.index == 0
            plain = models.build(config, dataset) if several and first else None
            with device.scope(strategy):
                network = models.build(config, dataset)
        with shutdown.deferred(), _memory(config, dataset), progress.bar(epochs) as advance:
            return training.fit(
                network,
                dataset,
                config,
                callbacks=[progress.callback(advance)],
                on_epoch=partial(watch.epoch_ended, epochs=epochs),
                should_stop=shutdown.requested,
                resume=state,
                due=checkpoints.due if checkpoints else lambda: False,
                save=checkpoints.save if checkpoints else lambda _: None,
                on_drop=watch.member_dropped,
                plain=plain,
                peers=peers or ALONE,
                limited_at=limited_at,
            )


def _memory(config: Config, dataset: Dataset) -> contextlib.AbstractContextManager[None]:
    """Maps memory errors to DeviceOutOfMemory, which names the options to lower."""
    return device.foreign_errors(
        batch_size=config.training.batch_size or 0,
        data_bytes=dataset.nbytes,
        image_size=dataset.shape[:2] if plan.are_images(dataset) else (),
    )


def _several_devices(devices: int, config: Config) -> str:
    """What the log and the report say of them.

    Raises:
        UsageError: A batch has fewer rows, or the precision needs a loss scale.
    """
    if config.training.precision == "mixed_float16":
        raise UsageError(
            "--precision: expected float32 or mixed_bfloat16 with several devices. "
            "Received: 'mixed_float16'.",
            hint="mixed_bfloat16 is as fast and needs no loss scale, which Keras cannot share.",
        )
    batch = config.training.batch_size or 0
    if batch < devices:
        raise UsageError(
            f"--batch-size: expected at least one row for each of {devices} devices. "
            f"Received: {batch}.",
            hint="Raise --batch-size, which counts the rows of all devices, or lower --devices.",
        )
    xla = " They train without XLA, which compiles no sums across devices."
    return f"{devices} devices share each batch." + (xla if config.training.xla else "")


def _tried(config: Config, dataset: Dataset, load: Load | None) -> tuple[Trial, ...]:
    """Columns of free text, and whether they lower the loss on validation rows."""
    names = free_text.candidates(config, dataset) if load else ()
    if not names:
        return ()
    several = _with_text(names, config, dataset, load)
    with shutdown.deferred():
        return free_text.tried(config, several, names, shutdown.requested)


def _with_text(
    names: tuple[str, ...], config: Config, dataset: Dataset, load: Load | None
) -> Dataset:
    """The same rows with columns of free text that the options left open."""
    if config.data.text is not None or not names or load is None or dataset.table is None:
        return dataset
    return load(config.replaced(text=names), Recipe.of(dataset.table.schema))


def mistake_occlusions(fit: Fit) -> tuple[Occlusion, ...]:
    """Where in the images of the surest mistakes the answers come from; empty without images."""
    test = fit.dataset.test
    if fit.config.publishing.report_rows == "none" or not pictures.are_images(test.x):
        return ()
    answers = Answers.of(fit)
    explained = map(int, answers.surest_mistakes(test.y, EXPLAINED))
    classes = {row: int(answers.predicted[row]) for row in explained}
    return occlusions(partial(training.predict, fit.network), test.x, classes)


def column_importance(fit: Fit, metric: Metric) -> Importance | None:
    """What a table's model owes to each column; None without a table, or without the time.

    Args:
        fit: The model, and the test rows.
        metric: What versions are compared by.
    """
    dataset = fit.dataset
    if dataset.table is None:
        return None
    end = time.monotonic() + IMPORTANCE_SECONDS
    return importance(
        partial(training.predict, fit.network),
        dataset.test,
        dataset.table.schema,
        probabilities=fit.probabilities,
        classes=dataset.classes,
        metric=metric,
        threshold=fit.metrics.threshold,
        stop=lambda: time.monotonic() > end,
    )


def _threshold(config: Config, dataset: Dataset, fitted: training.Fitted) -> Threshold | None:
    """The threshold that `--threshold` gives on rows that the model was not trained on.

    Raises:
        UsageError: There are no such rows.
    """
    rule = config.training.threshold
    if rule is None:
        return None
    seen = fitted.validation
    rows = seen.rows if seen else dataset.validation_rows
    probabilities = (
        seen.probabilities if seen else training.predict(fitted.network, dataset.train.x, rows)
    )
    positive, y = positive_class(dataset.shares), dataset.train.y
    true = beside(y).taken(y, rows, "validation rows")
    return choose(rule, probabilities, true, dataset.classes, positive)


def _training_auc(dataset: Dataset, network: Any) -> float | None:
    count = len(dataset.train)
    rows = np.unique(np.linspace(0, count - 1, min(count, SCORED_ROWS)).astype(np.int64))
    said = training.predict(network, dataset.train.x, rows)
    return mean([ranking.roc_auc() for ranking in rankings(said, dataset.train.y[rows])])


def _checkpoints(
    config: Config, dataset: Dataset, info: device.DeviceInfo, saves: Saves, watch: Watch
) -> Checkpoints:
    return Checkpoints(
        saves.store,
        f"{saves.name}/runs/{saves.run_id}",
        spare=open_store(str(spare(saves.store.uri))),
        run_id=saves.run_id,
        fingerprint=partial(run_fingerprint, config, dataset.digest),
        environment={**library_versions(), "device": info.identity},
        repeats=device.repeats(info, xla=config.training.xla),
        every=config.training.checkpoint_every,
        report=watch.checkpoint,
    )

"""From data to a trained model: read, import and prove the device at once, then train or go on."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from job import data, device, events, models, provenance, training
from job.config import Config
from job.data.dataset import Dataset
from job.drift import changes
from job.errors import DataError, DataNotFound
from job.models import plan
from job.process import progress, shutdown
from job.process.scratch import spare
from job.process.timing import Clock
from job.registry import Registry
from job.registry.fingerprint import made_of
from job.registry.manifest import Manifest
from job.storage import open_store
from job.storage.patient import Patient
from job.training.checkpoint import Checkpoints


def read(config: Config, scratch: Path, store: Patient) -> Dataset:
    """The data set that the options name; what is remote is staged in a scratch folder.

    Args:
        config: The options.
        scratch: The folder.
        store: Reading takes its time for retries and, where both are in S3, its client.
    """
    load = partial(
        data.load,
        config.data.data,
        test_uri=config.data.test_data,
        validation_split=plan.holdout(config),
        scratch=Path(config.data.cache) if config.data.cache else scratch,
        reading=config.data,
        opener=store.at,
    )
    return store.retry(load)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model, what it learned from, and where.

    Attributes:
        config: The options, none of them open.
        exact: Whether it was resumed with the same bits; None when it was not resumed.
    """

    config: Config
    dataset: Dataset
    network: Any
    fitted: training.Fitted
    device: device.DeviceInfo
    exact: bool | None


def train(
    config: Config,
    registry: Registry,
    store: Patient,
    run_id: str,
    scratch: Path,
    clock: Clock,
) -> Trained:
    """From data to a trained model, going on where an earlier try was stopped."""
    with clock.phase("import"):
        threads = ThreadPoolExecutor(2)  # this one stays free to hear signals
        reading = threads.submit(read, config, scratch, store)
        importing = threads.submit(device.import_libraries)
        both: list[Future[Any]] = [reading, importing]
        if reading in wait(both, return_when=FIRST_COMPLETED).done:
            reading.result()  # bad data ends the job now
        importing.result()
        info = device.prepare(config.training.device, xla=config.training.xla)
    events.device_ready(info)
    with clock.phase("read"):  # what is left of it after the import
        dataset = reading.result()
    events.data_loaded(dataset)
    champion = _champion(registry) if dataset.table else None
    changed = changes.since(champion, dataset)
    if champion and changed:
        events.data_changed(champion.version, changed)
    checkpoints = Checkpoints(
        store,
        f"{config.model_name}/runs/{run_id}",
        spare=open_store(str(spare(store.uri))),
        run_id=run_id,
        fingerprint=lambda chosen: made_of(plan.resumed(config, chosen), dataset.digest),
        made_on={**provenance.library_versions(), "device": info.identity},
        every=config.training.checkpoint_every,
        report=events.report,
    )
    with clock.phase("resume"):
        state = checkpoints.latest()
    shutdown.note(checkpoint=checkpoints.last)
    if state is None:
        decided = plan.decide(config, dataset, gpu=info.kind == "gpu")
        checkpoints.chosen = decided.chosen
    else:
        decided = plan.Plan(config=plan.resumed(config, checkpoints.chosen))
    settled = decided.config
    events.planned(decided)
    memory = partial(
        device.foreign_errors,
        batch_size=settled.training.batch_size or 0,
        data_bytes=dataset.nbytes,
    )
    with clock.phase("build"), memory():
        network = models.build(settled, dataset)
    epochs = settled.training.epochs or 0
    with shutdown.deferred(), memory(), progress.bar(epochs) as advance:
        fitted = training.fit(
            network,
            dataset,
            settled,
            callbacks=[progress.callback(advance)],
            on_epoch=partial(_ended, epochs=epochs),
            should_stop=shutdown.requested,
            resume=state,
            due=checkpoints.due,
            save=lambda state: shutdown.note(checkpoint=checkpoints.save(state)),
            on_drop=events.member_dropped,
        )
    clock.add("trace", fitted.trace_seconds)
    clock.add("compile", fitted.compile_seconds)
    clock.add("run", fitted.run_seconds)
    exact = checkpoints.exact
    if fitted.time_limited is not None:
        events.time_limited(fitted)
        exact = False
    return Trained(
        config=settled,
        dataset=dataset,
        network=fitted.network,
        fitted=fitted,
        device=info,
        exact=exact,
    )


def _ended(result: training.EpochResult, *, epochs: int) -> None:
    events.epoch_ended(result, epochs)
    if result.epoch == 1 and epochs > 1:
        events.time_estimated(result, epochs)


def _champion(registry: Registry) -> Manifest | None:
    try:
        return registry.resolve("champion")
    except (DataError, DataNotFound):
        return None  # none yet, or a damaged one, which `verify` reports

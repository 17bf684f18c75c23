"""follow: train along on another host than worker 0, which alone publishes, and how they meet."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from job import events
from job.config import Config
from job.data.schema import Recipe
from job.errors import PeerLost
from job.experiment import loading, prepare, train_along
from job.process.scratch import scratch
from job.process.timing import Clock
from job.registry import Versions, runs
from job.registry.fingerprint import recognized
from job.registry.runs import Identity
from job.storage import Access, open_store, use
from job.storage.patient import Patient
from job.training.checkpoint import is_finished
from job.versions import library_versions

if TYPE_CHECKING:
    from job.device.peers import Peers


def follow(config: Config, peers: "Peers") -> None:
    """Trains along on another host than worker 0, and waits for its end.

    Raises:
        Finished: Worker 0 has ended well, with a version or without need of one.
        JobError: As `run`, on whichever host; or a host was lost.
    """
    clock, options = Clock(), config.publishing
    own = Identity.of(options)
    events.run_followed(config, own, peers.index)
    use(Access.of(config.data, options))
    store = Patient(open_store(options.store), options.store_timeout, events.report)
    try:
        welcome = peers.meet(_facts(config))
    except PeerLost:
        if _is_done(config, Versions(store, config.model_name), own, store):
            return
        raise
    recipe = welcome["recipe"] and Recipe(**welcome["recipe"])
    with scratch() as folder:
        load = loading(store, folder, recipe)
        info, dataset = prepare(config, partial(load, config), clock, peers=peers)
        events.device_ready(info)
        train_along(config, dataset, info, peers, clock=clock, load=load, watch=events.FOLLOWING)
        peers.result()


def met(
    config: Config,
    versions: Versions,
    this: Identity,
    recipe: Recipe | None,
    peers: "Peers | None",
) -> "Peers | None":
    """The other hosts, once all are there; None where a finished training needs none of them."""
    if peers is None:
        return None
    if is_finished(versions.store, f"{versions.name}/runs/{this.run_id}"):
        peers.dismiss()
        return None
    peers.meet(_facts(config), {"recipe": recipe and asdict(recipe), "run_id": this.run_id})
    events.peers_met(peers.hosts)
    return peers


def _facts(config: Config) -> dict[str, object]:
    """What must be equal on all hosts before they train together."""
    versions = {f"version of {name}": value for name, value in library_versions().items()}
    return {**versions, "name": config.model_name, **config.model_options()}


def _is_done(config: Config, versions: Versions, own: Identity, store: Patient) -> bool:
    """Whether worker 0 has ended before this host could reach it: it is not started again."""
    if runs.is_published(versions, own):
        return True
    return bool(config.publishing.skip_unchanged and recognized(versions, config, store.at)[1])

"""Old versions and the runs behind them: what may go, and its removal in a safe order.

Before anything is written, the permission to remove it is proved. A version that goes is written
into the pointer first, by compare-and-swap, so that no `promote`, `rollback` or job makes it
champion from then on. Then its manifest goes, so that it does not
exist for readers, then its files, then its run. Whoever is killed in between does the rest the
next time. Runs without a version are left to the store's lifecycle rule on `runs/`: only a clock
could tell that they are dead.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from job.errors import DataError, DataNotFound, StoreError
from job.registry.manifest import Claim, rank
from job.registry.pointer import Champion, champions, predecessor
from job.registry.versions import Listed, Versions
from job.storage.documents import decode


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What goes and what stays.

    Attributes:
        doomed: The versions that go, ascending; also what an earlier, killed `prune` left, and
            numbers that a run claimed and never completed.
        kept: The versions that stay → why.
        champion: The pointer on which this was decided.
        etag: The pointer's ETag.
    """

    doomed: tuple[int, ...]
    kept: Mapping[int, str]
    champion: Champion
    etag: str


def plan(versions: Versions, keep: int) -> Plan:
    """Decides; nothing is written.

    Args:
        versions: The model's versions.
        keep: How many of the newest stay, at least 1.

    Raises:
        DataNotFound: There is no champion, and so no pointer to record anything in.
    """
    champion, etag = versions.pointer.read()
    if champion is None or etag is None:
        raise DataNotFound(
            f"Expected a champion of {versions.name} in {versions.store.uri}. Received: none yet.",
            hint="`mlp-job promote` chooses one; what goes is recorded in its pointer first.",
        )
    numbers = versions.numbers()
    listed = versions.listed(numbers)
    kept = _kept(champion, listed, keep)
    oldest = min((each.version for each in listed[:keep]), default=0)
    doomed = [n for n in numbers if n not in kept and (n < oldest or n in champion.doomed)]
    return Plan(doomed=tuple(doomed), kept=kept, champion=champion, etag=etag)


def carry_out(versions: Versions, decided: Plan) -> bool:
    """Removes what the plan dooms, once it is proved that all of it may be removed.

    Returns:
        Whether the store keeps the bytes of what was removed, as a versioned bucket does.

    Raises:
        AccessDenied: The versions or their runs may not be removed; nothing was written.
        StoreError: The champion was changed since the plan was made; nothing was removed.
    """
    if not decided.doomed:
        return False
    versions.pointer.probe()
    runs = {version: _run_of(versions, version) for version in decided.doomed}
    for version, run_id in runs.items():
        versions.store.expect_deletable(f"{versions.name}/versions/{version}")
        if run_id:
            versions.store.expect_deletable(f"{versions.name}/runs/{run_id}")
    if not versions.pointer.give_up(decided.champion, decided.etag, decided.doomed):
        raise StoreError(
            f"Expected the champion of {versions.name} to be as it was. "
            "Received: it was changed just now.",
            hint="Run the same command again; it decides anew.",
        )
    versioned = False
    for version, run_id in runs.items():
        versioned |= versions.store.delete(versions.key(version, "manifest.json"))
        claim = versions.key(version, "claim.json")
        folder = f"{versions.name}/versions/{version}"
        keys = [entry.key for entry in versions.store.list(folder)]
        for key in sorted(keys, key=lambda key: key == claim):  # what names the run goes last
            if key == claim and run_id:
                _remove_run(versions, run_id)
            versions.store.delete(key)
    return versioned


def _kept(champion: Champion, listed: Sequence[Listed], keep: int) -> dict[int, str]:
    kept = {each.version: f"one of the newest {keep}" for each in listed[:keep]}
    manifests = {each.version: each.manifest for each in listed if each.manifest}
    reigning = manifests.pop(champion.version, None)
    metric = (reigning and reigning.metric) or "accuracy"
    once = [manifests[version] for version in champions(champion) & manifests.keys()]
    if once:
        best = max(once, key=partial(rank, metric))
        kept[best.version] = "the best that reigned: the gate compares with it"
    left = champion.history[-1].before
    if left is not None:
        kept[left] = "champion until the last move: readers may be at it"
    before = predecessor(champion)
    if before:
        kept[before.after] = "where `rollback` leads"
    kept[champion.version] = "champion"
    return {version: why for version, why in kept.items() if version not in champion.doomed}


def _run_of(versions: Versions, version: int) -> str | None:
    key = versions.key(version, "claim.json")
    with contextlib.suppress(DataNotFound, DataError):  # gone or damaged: then nobody knows
        return decode(versions.store.read(key)[0], Claim, uri=key).run_id
    return None


def _remove_run(versions: Versions, run_id: str) -> None:
    """Removes a run's folder, unless the run has gone on to another number."""
    folder = f"{versions.name}/runs/{run_id}"
    with contextlib.suppress(DataNotFound):
        claim = decode(versions.store.read(f"{folder}/version")[0], Claim, uri=folder)
        champion = versions.champion()
        if champion and claim.version in champion.doomed:
            for entry in list(versions.store.list(folder)):
                versions.store.delete(entry.key)

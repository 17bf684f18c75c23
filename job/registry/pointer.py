"""The champion pointer, `champion.json`: which version is the champion, and the moves so far."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from job.errors import DataNotFound
from job.registry.manifest import Manifest
from job.storage import Conflict, Store
from job.storage.documents import decode, encode
from job.storage.probe import probe

REPAIR = (
    "If a newer mlp-job wrote it, use that one. Else put an older copy back, or move the file away "
    "and choose with `mlp-job promote VERSION`; what it knew of rollbacks is gone then."
)
"""What to do about a pointer that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of the pointer.

    Attributes:
        at: When; no decision depends on it.
        before: The version that reigned before, or None for the first champion.
        after: The version that reigns since.
        manifest_sha256: SHA-256 (hex) of the manifest of `after`.
        run_id: The run that moved it, or None when it was moved by hand.
        command: train, promote or rollback.
        reason: Why, in the words of the gate or of the user.
        fingerprint: What `after` was made from, so that a rollback needs no manifest to tell;
            None when it is not known.
        actor: Who moved it: the run, or the user and host; None in old histories.
    """

    at: datetime
    before: int | None
    after: int
    manifest_sha256: str
    run_id: str | None
    command: str
    reason: str
    fingerprint: str | None = None
    actor: str | None = None


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The pointer.

    Attributes:
        schema_version: The version of this format.
        version: The version that reigns.
        manifest_sha256: SHA-256 (hex) of its manifest.
        history: The moves, oldest first.
        doomed: Versions that are removed, or about to be; none of them ever reigns again.
    """

    schema_version: Literal[1]
    version: int
    manifest_sha256: str
    history: tuple[Move, ...]
    doomed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.history or self.history[-1].after != self.version:
            raise ValueError("the history of a champion ends with the move that made it one")


class Pointer:
    """The pointer in the store; it is changed by compare-and-swap alone.

    Args:
        store: Where it is.
        name: The model's name.
    """

    def __init__(self, store: Store, name: str):
        self._store, self._folder, self._key = store, name, f"{name}/champion.json"

    def read(self) -> tuple[Champion | None, str | None]:
        """What it says and its ETag; None before the first promotion."""
        try:
            data, etag = self._store.read(self._key)
        except DataNotFound:
            return None, None
        uri = f"{self._store.uri}/{self._key}"
        return decode(data, Champion, uri=uri, hint=REPAIR), etag

    def move(self, champion: Champion | None, etag: str | None, move: Move) -> bool:
        """Adds a move, unless the pointer has changed since it was read; whether it was added."""
        return self._swap(moved(champion, move), etag)

    def give_up(self, champion: Champion, etag: str, versions: Iterable[int]) -> bool:
        """Records that some versions are given up for good; False when the pointer has changed."""
        doomed = tuple(sorted({*champion.doomed, *versions}))
        if doomed == champion.doomed:
            return True
        return self._swap(dataclasses.replace(champion, doomed=doomed), etag)

    def probe(self) -> None:
        """Proves that the pointer can be moved safely; leaves nothing behind.

        Raises:
            AccessDenied: As `job.storage.probe`.
        """
        probe(self._store, f"{self._folder}/.probe")

    def _swap(self, champion: Champion, etag: str | None) -> bool:
        try:
            self._store.write(
                self._key, encode(champion), if_match=etag, if_none_match=etag is None
            )
        except Conflict:
            return False
        return True


def moved(champion: Champion | None, move: Move) -> Champion:
    """The pointer after one more move."""
    return Champion(
        schema_version=1,
        version=move.after,
        manifest_sha256=move.manifest_sha256,
        history=(*(champion.history if champion else ()), move),
        doomed=champion.doomed if champion else (),
    )


def was_moved_by(champion: Champion | None, run_id: str) -> bool:
    """True when the run has made its one move already."""
    return champion is not None and any(move.run_id == run_id for move in champion.history)


def objection(champion: Champion | None, manifest: Manifest) -> str | None:
    """Why a job may not make this version champion, or None when it may.

    Order is by version number, never by clock, so a job that wakes up late moves nothing back.
    """
    version = manifest.version
    if champion is None:
        return None
    if version <= champion.version:
        return f"Version {version} is not newer than the champion, version {champion.version}."
    if version in champion.doomed:
        return f"Version {version} was given up by `prune`."
    if version in rolled_back(champion):
        return f"Version {version} was rolled back; only `promote` makes it champion again."
    return objection_to_repeat(champion, manifest.fingerprint)


def objection_to_repeat(champion: Champion | None, fingerprint: str | None) -> str | None:
    """What speaks against a model made from the same as one that was rolled back, or None."""
    if champion and fingerprint:
        for move in champion.history:
            if move.fingerprint == fingerprint and move.after in rolled_back(champion):
                return (
                    f"It was made from the same data, configuration and versions as version "
                    f"{move.after}, which was rolled back; only `promote` makes it champion."
                )
    return None


def rolled_back(champion: Champion) -> frozenset[int]:
    """The versions that a person took the title from."""
    return frozenset(
        move.before
        for move in champion.history
        if move.command == "rollback" and move.before is not None
    )


def known_versions(champion: Champion | None) -> frozenset[int]:
    """The numbers that the pointer remembers; none of them is ever given to another version."""
    if champion is None:
        return frozenset()
    return frozenset({move.after for move in champion.history} | set(champion.doomed))


def is_pruned(champion: Champion | None, version: int) -> bool:
    """Whether `prune` has given a version up."""
    return champion is not None and version in champion.doomed


def champions(champion: Champion) -> frozenset[int]:
    """The versions that ever reigned and were neither rolled back nor given up."""
    return known_versions(champion) - rolled_back(champion) - set(champion.doomed)


def status(champion: Champion | None, version: int, promote: bool) -> str:
    """What became of a version, in two or three words: the final decision.

    Args:
        champion: The pointer.
        version: The version.
        promote: The verdict in its manifest, which the pointer's history has precedence over.
    """
    if champion:
        if version in champion.doomed:
            return "given up"
        if version in rolled_back(champion):
            return "rolled back"
        for move in champion.history:
            if move.after == version:
                return "promoted" if move.command == "train" else "promoted by hand"
    waiting = promote and (champion is None or version > champion.version)
    return "pending" if waiting else "not promoted"


def predecessor(champion: Champion) -> Move | None:
    """The move that had made the previous champion, or None when there was none.

    A rollback takes back what was moved since, so that rolling back twice goes back two
    champions and not to and fro. A champion made from the same as one that was rolled back, or
    is about to be, has the same fault and is passed over, unless it was promoted by hand since.
    """
    reigns: list[Move] = []
    faulty: set[str | None] = set()
    for move in champion.history:
        if move.command != "rollback":
            reigns.append(move)
            if move.command == "promote":
                faulty.discard(move.fingerprint)
            continue
        while reigns and reigns[-1].after != move.after:
            faulty.add(reigns.pop().fingerprint)
    if not reigns:
        return None
    faulty = (faulty | {reigns[-1].fingerprint}) - {None}
    sound = (move for move in reversed(reigns[:-1]) if move.fingerprint not in faulty)
    return next(sound, None)

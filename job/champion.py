"""The champion pointer, `champion.json`: which version reigns and how it came to that. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from job.manifest import Manifest


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
    """

    at: datetime
    before: int | None
    after: int
    manifest_sha256: str
    run_id: str | None
    command: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The pointer and the history of its moves, oldest first."""

    schema_version: Literal[1]
    version: int
    manifest_sha256: str
    history: tuple[Move, ...]


def moved(champion: Champion | None, move: Move) -> Champion:
    """The pointer after one more move."""
    return Champion(
        schema_version=1,
        version=move.after,
        manifest_sha256=move.manifest_sha256,
        history=(*(champion.history if champion else ()), move),
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
    if any(move.command == "rollback" and move.before == version for move in champion.history):
        return f"Version {version} was rolled back; only `promote` makes it champion again."
    return None


def predecessor(champion: Champion) -> Move | None:
    """The move that had made the previous champion, or None when there was none.

    A rollback takes back what was moved since, so that rolling back twice goes back two
    champions and not to and fro.
    """
    reigns: list[Move] = []
    for move in champion.history:
        if move.command != "rollback":
            reigns.append(move)
            continue
        while reigns and reigns[-1].after != move.after:
            reigns.pop()
    return reigns[-2] if len(reigns) > 1 else None

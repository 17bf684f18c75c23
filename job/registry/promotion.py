"""Choose the champion: what a run's verdict leads to, and promote and rollback by hand.

Whoever loses a swap of the pointer reads the new champion and decides again.
"""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime

from job.errors import DataError, DataNotFound, StoreError
from job.registry.manifest import Manifest
from job.registry.pointer import (
    Champion,
    Move,
    is_pruned,
    objection,
    predecessor,
    was_moved_by,
)
from job.registry.verdict import Verdict
from job.registry.versions import Versions

SWAPS = 100
"""A swap is lost only to another's move; so many in a row mean that something else is wrong."""

BY_HAND = "by hand"
"""The reason of a move by hand when none is given."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version with a manifest.

    Attributes:
        manifest: Its manifest.
        sha256: SHA-256 (hex) of the manifest's bytes.
        verdict: The final decision; before the pointer was asked, the one in the manifest.
    """

    manifest: Manifest
    sha256: str
    verdict: Verdict


def settled(champion: Champion | None, published: Published) -> Verdict | None:
    """The verdict on a run's version that needs no comparison; None when one is needed.

    A run that has moved the pointer already does not move it again. Pure.
    """
    verdict = published.verdict
    if was_moved_by(champion, published.manifest.run_id):
        return dataclasses.replace(verdict, promote=True)
    against = objection(champion, published.manifest)
    if against is None:
        return None
    reasons = verdict.reasons if against in verdict.reasons else (*verdict.reasons, against)
    return dataclasses.replace(verdict, promote=False, reasons=reasons)


def carry_out(
    versions: Versions,
    published: Published,
    verdict: Verdict,
    champion: Champion | None,
    etag: str | None,
) -> bool:
    """Moves the pointer to a run's version if the verdict says so, and the run has not before.

    Returns:
        False when the pointer has changed since it was read: then decide again.
    """
    manifest = published.manifest
    if not verdict.promote or was_moved_by(champion, manifest.run_id):
        return True
    reason = " ".join(verdict.reasons)
    move = _move(
        champion,
        manifest,
        published.sha256,
        command="train",
        reason=reason,
        actor=f"run {manifest.run_id}",
        run_id=manifest.run_id,
    )
    return versions.pointer.move(champion, etag, move)


def promote(
    versions: Versions, ref: str, *, reason: str = BY_HAND, actor: str | None = None
) -> Move:
    """Makes a version champion by hand, after hashing every file of it.

    Returns:
        The move that made it champion; an earlier one when it is champion already.

    Raises:
        DataError: The version is damaged, or `prune` has given it up; the pointer was not moved.
    """
    manifest, sha256 = versions.resolved(ref)
    _expect_whole(versions, manifest)
    versions.pointer.probe()
    for _ in range(SWAPS):
        champion, etag = versions.pointer.read()
        _expect_kept(versions.name, champion, manifest.version)
        named = champion and (champion.version, champion.manifest_sha256)
        if champion and named == (manifest.version, sha256):
            return champion.history[-1]
        move = _move(champion, manifest, sha256, command="promote", reason=reason, actor=actor)
        if versions.pointer.move(champion, etag, move):
            return move
    raise never_still(versions.name)


def rollback(versions: Versions, *, reason: str = BY_HAND, actor: str | None = None) -> Move:
    """Makes the previous champion champion again; the present one may be in any state.

    Raises:
        DataNotFound: No version was champion before.
        DataError: The previous champion is damaged; the pointer was not moved.
        StoreError: The pointer was moved at the same moment.
    """
    champion, etag = versions.pointer.read()
    before = predecessor(champion) if champion else None
    if before is None:
        raise DataNotFound(
            f"Expected a version of {versions.name} that was champion before. Received: none.",
            hint="`mlp-job models` lists the versions, `mlp-job promote` chooses one. What was "
            "made from the same as a version that was rolled back does not count.",
        )
    _expect_kept(versions.name, champion, before.after)
    manifest, sha256 = versions.vouched(before.after, before.manifest_sha256)
    _expect_whole(versions, manifest)
    versions.pointer.probe()
    move = _move(champion, manifest, sha256, command="rollback", reason=reason, actor=actor)
    if not versions.pointer.move(champion, etag, move):
        raise StoreError(
            f"Expected the champion to be still version {move.before}. "
            "Received: it was changed just now.",
            hint="Look at `mlp-job models` and decide again.",
        )
    return move


def never_still(name: str) -> StoreError:
    """The error of whoever has lost too many swaps."""
    return StoreError(
        f"Expected to move the champion of {name}. Received: it was moved by others "
        f"{SWAPS} times in a row.",
        hint="Find out what keeps writing champion.json, and run the same command again.",
    )


def now() -> datetime:
    """The time of a move or a manifest, UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def _expect_kept(name: str, champion: Champion | None, version: int) -> None:
    if is_pruned(champion, version):
        raise DataError(
            f"Expected a version of {name} that is kept. Received: version {version}, "
            "which `mlp-job prune` has given up.",
            hint="`mlp-job models` lists the versions, `mlp-job promote` chooses another one.",
        )


def _expect_whole(versions: Versions, manifest: Manifest) -> None:
    for file in versions.hashed(manifest).damaged:
        raise DataError(
            f"{versions.name} version {manifest.version}, {file.path}: {file.problem}.",
            hint="`mlp-job verify` checks a version, `mlp-job promote` chooses another one.",
        )


def _move(
    champion: Champion | None,
    manifest: Manifest,
    sha256: str,
    *,
    command: str,
    reason: str,
    actor: str | None,
    run_id: str | None = None,
) -> Move:
    return Move(
        at=now(),
        before=champion.version if champion else None,
        after=manifest.version,
        manifest_sha256=sha256,
        run_id=run_id,
        command=command,
        reason=reason,
        fingerprint=manifest.fingerprint,
        actor=actor,
    )

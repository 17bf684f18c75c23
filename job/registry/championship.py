"""Who is champion: a job's challenge, and promote and rollback by hand."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from job.errors import DataError, DataNotFound, StoreError
from job.registry.documents import encode
from job.registry.manifest import Manifest
from job.registry.pointer import (
    Champion,
    Move,
    is_doomed,
    moved,
    objection,
    predecessor,
    was_moved_by,
)
from job.registry.verdict import Verdict
from job.registry.versions import Catalogue
from job.storage import Conflict
from job.storage.probe import probe

Decide = Callable[[Champion | None], Verdict]
"""Judges the new version against the champion that the pointer names, None when there is none."""

SWAPS = 100
"""A swap is lost only to another's move; so many in a row mean that something else is wrong."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A version with a manifest.

    Attributes:
        manifest: Its manifest.
        sha256: SHA-256 (hex) of the manifest's bytes.
        verdict: The final decision; before `challenge`, the one in the manifest.
    """

    manifest: Manifest
    sha256: str
    verdict: Verdict


class Championship(Catalogue):
    """The versions of one model, for reading and for choosing the champion.

    The pointer is moved by compare-and-swap alone. Whoever loses one reads the new champion
    and decides again.
    """

    def recent(self, count: int) -> tuple[Manifest, ...]:
        """The newest versions' manifests, oldest first; damaged ones are left out."""
        listed = self.listed(self.numbers()[-count:])
        return tuple(each.manifest for each in reversed(listed) if each.manifest)

    def challenge(self, published: Published, decide: Decide | None = None) -> Published:
        """Makes a version champion when the verdict says so; a run does so once at most.

        Returns:
            The version with the final verdict, judged against the champion of that moment.
        """
        for _ in range(SWAPS):
            with contextlib.suppress(Conflict):
                verdict = self._challenged(published, decide)
                return dataclasses.replace(published, verdict=verdict)
        raise self._never_still()

    def probe(self) -> None:
        """Proves that the pointer can be moved safely; leaves nothing behind.

        Raises:
            AccessDenied: As `job.storage.probe`.
        """
        probe(self.store, f"{self.name}/.probe")

    def promote(self, ref: str, *, reason: str = "") -> Move:
        """Makes a version champion by hand, after hashing every file of it.

        Returns:
            The move that made it champion; an earlier one when it is champion already.

        Raises:
            DataError: The version is damaged, or `prune` has given it up; the pointer was not
                moved.
        """
        manifest, sha256 = self._resolve(ref)
        self._expect_whole(manifest)
        self.probe()
        for _ in range(SWAPS):
            champion, etag = self.pointer()
            self._expect_kept(champion, manifest.version)
            named = champion and (champion.version, champion.manifest_sha256)
            if champion and named == (manifest.version, sha256):
                return champion.history[-1]
            move = _move(champion, manifest, sha256, command="promote", reason=reason)
            with contextlib.suppress(Conflict):
                self._swap(champion, etag, move)
                return move
        raise self._never_still()

    def rollback(self, *, reason: str = "") -> Move:
        """Makes the previous champion champion again; the present one may be in any state.

        Raises:
            DataNotFound: No version was champion before.
            DataError: The previous champion is damaged; the pointer was not moved.
            StoreError: The pointer was moved at the same moment.
        """
        champion, etag = self.pointer()
        before = predecessor(champion) if champion else None
        if before is None:
            raise DataNotFound(
                f"Expected a version of {self.name} that was champion before. Received: none.",
                hint="`mlp-job models` lists the versions, `mlp-job promote` chooses one. What was "
                "made from the same as a version that was rolled back does not count.",
            )
        self._expect_kept(champion, before.after)
        manifest, sha256 = self._vouched(before.after, before.manifest_sha256)
        self._expect_whole(manifest)
        self.probe()
        move = _move(champion, manifest, sha256, command="rollback", reason=reason)
        try:
            self._swap(champion, etag, move)
        except Conflict as exc:
            raise StoreError(
                f"Expected the champion to be still version {move.before}. "
                "Received: it was changed just now.",
                hint="Look at `mlp-job models` and decide again.",
            ) from exc
        return move

    def doom(self, champion: Champion, etag: str, versions: Iterable[int]) -> None:
        """Records in the pointer that some versions are given up for good.

        Args:
            champion: The pointer on which this was decided.
            etag: Its ETag.
            versions: Their numbers.

        Raises:
            StoreError: The pointer was changed in the meantime.
        """
        doomed = tuple(sorted({*champion.doomed, *versions}))
        if doomed == champion.doomed:
            return
        changed = dataclasses.replace(champion, doomed=doomed)
        try:
            self.store.write(f"{self.name}/champion.json", encode(changed), if_match=etag)
        except Conflict as exc:
            raise StoreError(
                f"Expected the champion of {self.name} to be as it was. "
                "Received: it was changed just now.",
                hint="Run the same command again; it decides anew.",
            ) from exc

    def _challenged(self, published: Published, decide: Decide | None) -> Verdict:
        """Decides, and moves the pointer if the verdict is to promote.

        Raises:
            Conflict: The champion was changed in the meantime.
        """
        manifest, verdict = published.manifest, published.verdict
        champion, etag = self.pointer()
        if was_moved_by(champion, manifest.run_id):
            return dataclasses.replace(verdict, promote=True)
        against = objection(champion, manifest)
        if against:
            told = verdict.reasons if against in verdict.reasons else (*verdict.reasons, against)
            return dataclasses.replace(verdict, promote=False, reasons=told)
        if decide:
            verdict = decide(champion)
        if verdict.promote:
            move = _move(
                champion,
                manifest,
                published.sha256,
                command="train",
                reason=" ".join(verdict.reasons),
                run_id=manifest.run_id,
            )
            self._swap(champion, etag, move)
        return verdict

    def _swap(self, champion: Champion | None, etag: str | None, move: Move) -> None:
        self.store.write(
            f"{self.name}/champion.json",
            encode(moved(champion, move)),
            if_match=etag,
            if_none_match=etag is None,
        )

    def _expect_kept(self, champion: Champion | None, version: int) -> None:
        if is_doomed(champion, version):
            raise DataError(
                f"Expected a version of {self.name} that is kept. Received: version {version}, "
                "which `mlp-job prune` has given up.",
                hint="`mlp-job models` lists the versions, `mlp-job promote` chooses another one.",
            )

    def _expect_whole(self, manifest: Manifest) -> None:
        for file in self._verify(manifest).damaged:
            raise DataError(
                f"{self.name} version {manifest.version}, {file.path}: {file.problem}.",
                hint="`mlp-job verify` checks a version, `mlp-job promote` chooses another one.",
            )

    def _never_still(self) -> StoreError:
        return StoreError(
            f"Expected to move the champion of {self.name}. Received: it was moved by others "
            f"{SWAPS} times in a row.",
            hint="Find out what keeps writing champion.json, and run the same command again.",
        )


def _move(
    champion: Champion | None,
    manifest: Manifest,
    sha256: str,
    *,
    command: str,
    reason: str,
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
    )


def now() -> datetime:
    """The time of a move or a manifest, UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)

"""Registry: a model's versions with the functions on them as methods, as tests read best."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from job.errors import StoreError
from job.registry import Published, Versions, promotion, publish
from job.registry.manifest import Draft, FileRecord
from job.registry.pointer import Champion, Move
from job.registry.verdict import Verdict

Decide = Callable[[Champion | None], Verdict]


class Registry(Versions):
    def check(self, run_id: str | None) -> Published | None:
        publish.check(self)
        return publish.published_by(self, run_id) if run_id else None

    def publish(self, folder: Path, draft: Draft, decide: Decide | None = None) -> Published:
        version = self.claim(draft.run_id, draft.attempt)
        return self.challenge(publish.publish(self, folder, draft, version), decide)

    def claim(self, run_id: str, attempt: str) -> int:
        return publish.claim(self, run_id, attempt)

    def upload(self, folder: Path, version: int, attempt: str) -> Mapping[str, FileRecord]:
        return publish.upload(self, folder, version, attempt)

    def commit(self, version: int, draft: Draft, files: Mapping[str, FileRecord]) -> Published:
        return publish.commit(self, version, draft, files)

    def challenge(self, published: Published, decide: Decide | None = None) -> Published:
        """As `contest.settle`, with a verdict of the test's own."""
        for _ in range(promotion.SWAPS):
            champion, etag = self.pointer.read()
            verdict = promotion.settled(champion, published)
            if verdict is None:
                verdict = decide(champion) if decide else published.verdict
            if promotion.carry_out(self, published, verdict, champion, etag):
                return replace(published, verdict=verdict)
        raise promotion.never_still(self.name)

    def promote(self, ref: str, *, reason: str = "") -> Move:
        return promotion.promote(self, ref, reason=reason)

    def rollback(self, *, reason: str = "") -> Move:
        return promotion.rollback(self, reason=reason)

    def doom(self, champion: Champion, etag: str, versions: Iterable[int]) -> None:
        if not self.pointer.give_up(champion, etag, versions):
            raise StoreError("The champion was changed.", hint="Decide again.")

"""Publishing: a number is claimed, files are uploaded, the manifest makes them a version.

The order of writes, all below `{store}/{name}/`:

    1. versions/{n}/claim.json      created (If-None-Match: *): the number is taken
    2. runs/{run id}/version        created: this run's number; a second claim is a gap
    3. versions/{n}/{attempt}/*     this attempt's files; nobody else writes here
    4. versions/{n}/manifest.json   created: from here on the version exists, complete
    5. champion.json                swapped (If-Match), when the verdict says so

A writer may be killed between any two, and so between any two bytes. After 1 a number is lost and
nothing else. After 2 or 3 the run's retry takes the same number, and files of the dead
attempt are never referred to. After 4 the retry finds its own manifest and goes on with 5.
After 5 it finds its own move in the pointer's history. Two pods of one run get one number, the
first manifest wins, and the other pod goes on with that one. Whoever loses 5 reads the new
champion and decides again.
"""

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.config import Config
from job.errors import DataError, DataNotFound, StoreError
from job.registry.championship import Championship, Decide, Published, now
from job.registry.documents import decode, encode
from job.registry.fingerprint import expect_same
from job.registry.integrity import hashed
from job.registry.manifest import Claim, Draft, FileRecord, Manifest
from job.registry.pointer import ever, is_doomed
from job.storage import Conflict
from job.storage.probe import probe

UPLOADS = 4
"""Files that are uploaded at a time."""


class Registry(Championship):
    """The versions of one model, for reading, publishing and choosing the champion."""

    def check(self, run_id: str | None) -> Published | None:
        """Proves that publishing will work, before any training; leaves nothing behind.

        Returns:
            What this run has published already, if it has.

        Raises:
            AccessDenied: No such bucket, a missing permission, read-only, or a store that
                ignores conditional writes.
            StoreError: The store does not answer, or is full.
        """
        probe(self.store, f"{self.name}/.probe", large=True)
        self.numbers()
        self.pointer()
        return self.published(run_id) if run_id else None

    def published(self, run_id: str) -> Published | None:
        """What this run has published, if it has."""
        version = self._claimed(run_id)[0]
        return self._published(version, run_id) if version else None

    def publish(self, folder: Path, draft: Draft, decide: Decide | None = None) -> Published:
        """Publishes a folder of files as one version and lets it challenge the champion.

        Safe to repeat under one run id, and to run at the same time in several pods.

        Args:
            folder: Every file below it belongs to the version.
            draft: What the manifest says.
            decide: Judges against the champion of the moment; by default, the draft's verdict.

        Raises:
            StoreError: The store failed, also when it has come to refuse these credentials.
        """
        given_up = True
        while given_up:
            version = self.claim(draft.run_id, draft.attempt)
            files = self.upload(folder, version, draft.attempt)
            given_up = is_doomed(self.champion(), version)  # by `prune`, in the meantime
        return self.challenge(self.commit(version, draft, files), decide)

    def claim(self, run_id: str, attempt: str) -> int:
        """The run's version number: the one it has and keeps, or the next free one."""
        champion = self.champion()
        version, etag = self._claimed(run_id)
        if version is not None and not is_doomed(champion, version):
            return version
        taken = False
        version = max([*self.numbers(), *ever(champion)], default=0)
        while not taken:
            version += 1
            claim = Claim(schema_version=1, version=version, run_id=run_id, attempt=attempt)
            taken = self._created(f"versions/{version}/claim.json", claim)
        # Or another pod of this run has.
        self._created(f"runs/{run_id}/version", claim, instead_of=etag)
        return self._claimed(run_id)[0] or version

    def upload(self, folder: Path, version: int, attempt: str) -> Mapping[str, FileRecord]:
        """Uploads every file below a folder to `versions/{version}/{attempt}/`.

        Returns:
            What the manifest's `files` says of them.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())

        def one(path: Path) -> tuple[str, FileRecord]:
            name = f"{attempt}/{path.relative_to(folder).as_posix()}"
            record = hashed(path)
            self.store.upload(path, self.key(version, name))
            return name, record

        pool = ThreadPoolExecutor(UPLOADS)
        try:
            return dict(pool.map(one, paths))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # SIGTERM does not wait for a store

    def commit(self, version: int, draft: Draft, files: Mapping[str, FileRecord]) -> Published:
        """Creates the manifest, or finds the one that another pod of this run has created.

        Raises:
            UsageError: The other pod has other options or other data.
            StoreError: The store failed, or `prune` has given this number up meanwhile.
        """
        manifest = Manifest(
            schema_version=1,
            name=self.name,
            version=version,
            created=now(),
            files=files,
            **vars(draft),
        )
        if is_doomed(self.champion(), version):
            raise StoreError(
                f"Expected version {version} of {self.name} to be kept until run "
                f"{draft.run_id} has published it. Received: `mlp-job prune` has given it up.",
                hint="Run the same command again: it takes another number.",
            )
        with contextlib.suppress(Conflict):
            self.store.write(
                self.key(version, "manifest.json"), encode(manifest), if_none_match=True
            )
        published = self._published(version, draft.run_id)
        if published is None:
            raise StoreError(
                f"Expected the manifest of {self.name} version {version}, just written. "
                "Received: no such key.",
                hint="Run the same command again, and check who deletes from the store.",
            )
        expect_same(Config.recorded(draft.config), draft.data.digest, published.manifest)
        return published

    def _published(self, version: int, run_id: str) -> Published | None:
        try:
            manifest, sha256 = self._manifest(version)
        except DataNotFound:
            return None
        if manifest.run_id != run_id:
            raise DataError(
                f"{self.name} version {version}: expected a manifest of run {run_id}. "
                f"Received: one of run {manifest.run_id}.",
                hint="Something else writes to this store: check who does, and use a new --run-id.",
            )
        return Published(manifest=manifest, sha256=sha256, verdict=manifest.verdict)

    def _claimed(self, run_id: str) -> tuple[int | None, str | None]:
        """The run's number and the ETag of what says so."""
        key = f"{self.name}/runs/{run_id}/version"
        try:
            data, etag = self.store.read(key)
        except DataNotFound:
            return None, None
        return decode(data, Claim, uri=f"{self.store.uri}/{key}").version, etag

    def _created(self, path: str, claim: Claim, instead_of: str | None = None) -> bool:
        try:
            self.store.write(
                f"{self.name}/{path}",
                encode(claim),
                if_match=instead_of,
                if_none_match=instead_of is None,
            )
        except Conflict:
            return False
        return True

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
from job.registry.fingerprint import expect_same
from job.registry.integrity import hashed
from job.registry.manifest import Claim, Draft, FileRecord, Manifest
from job.registry.pointer import is_pruned, known_versions
from job.registry.promotion import Published, now
from job.registry.versions import Versions
from job.storage import Conflict
from job.storage.documents import decode, encode
from job.storage.probe import probe

UPLOADS = 4
"""Files that are uploaded at a time."""


def check(versions: Versions) -> None:
    """Proves that publishing will work, before any training; leaves nothing behind.

    Raises:
        AccessDenied: No such bucket, a missing permission, read-only, or a store that ignores
            conditional writes.
        StoreError: The store does not answer, or is full.
    """
    probe(versions.store, f"{versions.name}/.probe", large=True)
    versions.numbers()
    versions.pointer.read()


def published_by(versions: Versions, run_id: str) -> Published | None:
    """What a run has published, if it has."""
    version = _claimed(versions, run_id)[0]
    return _published(versions, version, run_id) if version else None


def publish(versions: Versions, folder: Path, draft: Draft, version: int) -> Published:
    """Publishes a folder of files as the version that `claim` gave; the pointer is not moved.

    Safe to repeat under one run id, and to run at the same time in several pods.

    Args:
        versions: The model's versions.
        folder: Every file below it belongs to the version.
        draft: What the manifest says.
        version: The number; the files may say it.

    Raises:
        StoreError: As `commit`.
    """
    return commit(versions, version, draft, upload(versions, folder, version, draft.attempt))


def claim(versions: Versions, run_id: str, attempt: str) -> int:
    """The run's version number: the one it has and keeps, or the next free one."""
    champion = versions.champion()
    version, etag = _claimed(versions, run_id)
    if version is not None and not is_pruned(champion, version):
        return version
    taken = False
    version = max([*versions.numbers(), *known_versions(champion)], default=0)
    while not taken:
        version += 1
        mine = Claim(schema_version=1, version=version, run_id=run_id, attempt=attempt)
        taken = _created(versions, f"versions/{version}/claim.json", mine)
    # Or another pod of this run has.
    _created(versions, f"runs/{run_id}/version", mine, instead_of=etag)
    return _claimed(versions, run_id)[0] or version


def upload(
    versions: Versions, folder: Path, version: int, attempt: str
) -> Mapping[str, FileRecord]:
    """Uploads every file below a folder to `versions/{version}/{attempt}/`.

    Returns:
        What the manifest's `files` says of them.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())

    def one(path: Path) -> tuple[str, FileRecord]:
        name = f"{attempt}/{path.relative_to(folder).as_posix()}"
        record = hashed(path)
        versions.store.upload(path, versions.key(version, name))
        return name, record

    pool = ThreadPoolExecutor(UPLOADS)
    try:
        return dict(pool.map(one, paths))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # SIGTERM does not wait for a store


def commit(
    versions: Versions, version: int, draft: Draft, files: Mapping[str, FileRecord]
) -> Published:
    """Creates the manifest, or finds the one that another pod of this run has created.

    Raises:
        UsageError: The other pod has other options or other data.
        StoreError: The store failed, or `prune` has given this number up meanwhile.
    """
    manifest = Manifest(
        schema_version=1,
        name=versions.name,
        version=version,
        created=now(),
        files=files,
        **vars(draft),
    )
    if is_pruned(versions.champion(), version):
        raise StoreError(
            f"Expected version {version} of {versions.name} to be kept until run "
            f"{draft.run_id} has published it. Received: `mlp-job prune` has given it up.",
            hint="Run the same command again: it takes another number.",
        )
    with contextlib.suppress(Conflict):
        versions.store.write(
            versions.key(version, "manifest.json"), encode(manifest), if_none_match=True
        )
    published = _published(versions, version, draft.run_id)
    if published is None:
        raise StoreError(
            f"Expected the manifest of {versions.name} version {version}, just written. "
            "Received: no such key.",
            hint="Run the same command again, and check who deletes from the store.",
        )
    expect_same(Config.recorded(draft.config), draft.data.digest, published.manifest)
    return published


def _published(versions: Versions, version: int, run_id: str) -> Published | None:
    try:
        manifest, sha256 = versions.manifest(version)
    except DataNotFound:
        return None
    if manifest.run_id != run_id:
        raise DataError(
            f"{versions.name} version {version}: expected a manifest of run {run_id}. "
            f"Received: one of run {manifest.run_id}.",
            hint="Something else writes to this store: check who does, and use a new --run-id.",
        )
    return Published(manifest=manifest, sha256=sha256, verdict=manifest.verdict)


def _claimed(versions: Versions, run_id: str) -> tuple[int | None, str | None]:
    """The run's number and the ETag of what says so."""
    key = f"{versions.name}/runs/{run_id}/version"
    try:
        data, etag = versions.store.read(key)
    except DataNotFound:
        return None, None
    return decode(data, Claim, uri=f"{versions.store.uri}/{key}").version, etag


def _created(versions: Versions, path: str, claim: Claim, instead_of: str | None = None) -> bool:
    try:
        versions.store.write(
            f"{versions.name}/{path}",
            encode(claim),
            if_match=instead_of,
            if_none_match=instead_of is None,
        )
    except Conflict:
        return False
    return True

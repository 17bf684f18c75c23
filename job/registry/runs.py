"""Runs: their identity, which unfinished one a job resumes, and which ones failed for good.

`runs/{run id}/run.json` says what a run is made from. It is created once, before training, and
the first pod of a Job that creates it decides for all of them whether the Job resumes an earlier
run. Two Jobs that resume one run at the same time do no harm: they are like two pods of one
Job, and one version comes out.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from job.config.publishing import PublishingOptions
from job.errors import (
    AccessDenied,
    DataError,
    DataNotFound,
    DeviceOutOfMemory,
    JobError,
    StoreError,
    TrainingDiverged,
    UsageError,
)
from job.process import shutdown
from job.registry import publish
from job.registry.promotion import Published, now
from job.registry.versions import READERS, Versions
from job.storage import Conflict
from job.storage.documents import decode, encode
from job.training.checkpoint import SLOTS

BUG = 1
"""The exit code of an exception that is no JobError."""

RUNS_OWN = (UsageError, TrainingDiverged, DeviceOutOfMemory)
"""Errors that lie in the run, not in its surroundings: it would end so again."""

RESUMPTIONS = 2
"""Other jobs that may resume a run from one checkpoint. A run that they left there was killed at
the same place again, most likely for want of memory, and would be killed once more."""

PATIENCE = 10.0
"""Seconds for which the store may fail while a failed run is marked."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A run and one try at it.

    Attributes:
        run_id: The run, shared by its retries.
        attempt: This try.
        source: What the run is made from; None before that is known. See
            `job.registry.fingerprint`.
    """

    run_id: str
    attempt: str
    source: str | None = None

    @classmethod
    def of(cls, options: PublishingOptions) -> "Identity":
        """A job's own run, of the id that it is given or else of a new one, and a new try."""
        new = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        # A container that is started again in its pod has the pod's name, and files of its own.
        tried = filter(None, (options.attempt, secrets.token_hex(4)))
        return cls(run_id=options.run_id or options.default_run_id or new, attempt="-".join(tried))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run, or one job that resumes another job's run.

    Attributes:
        schema_version: The version of this format.
        run_id: The run id that the job was given or drew.
        fingerprint: Of data, options and versions; see `job.registry.fingerprint`.
        created: UTC; the newest unfinished run is resumed.
        resumes: The run that the job resumes in place of a new one.
        resumed_from: The ETags of that run's checkpoints when the job began.
        failed: The exit code that keeps other jobs from resuming the run.
    """

    schema_version: Literal[1]
    run_id: str
    fingerprint: str
    created: datetime
    resumes: str | None = None
    resumed_from: Sequence[str] = ()
    failed: int | None = None


def check(versions: Versions, own: Identity) -> tuple[Identity, Published | None]:
    """Proves that publishing will work, before any training; as `publish.check`.

    Returns:
        The run that the job works on, its own or the one that an earlier pod of it chose, and
        what that run has published already, if it has.
    """
    publish.check(versions)
    run = _resumed_by(versions, own)
    published = publish.published_by(versions, run.run_id)
    return (replace(run, source=published.manifest.source) if published else run), published


def is_published(versions: Versions, own: Identity) -> bool:
    """Whether the run that the job works on has a version; writes nothing."""
    return publish.published_by(versions, _resumed_by(versions, own).run_id) is not None


def begin(versions: Versions, own: Identity, *, resume: bool) -> Identity:
    """Records a run before it trains.

    Args:
        versions: The model's versions and runs.
        own: The job's own run; its source is known.
        resume: Whether to take the newest unfinished run with the same source instead.

    Returns:
        The run to work on; the same for all pods that have this run id.
    """
    if _read(versions, own.run_id) is None:
        fingerprint = own.source or ""
        resumes, checkpoints = _unfinished(versions, fingerprint) if resume else (None, [])
        run = Run(
            schema_version=1,
            run_id=own.run_id,
            fingerprint=fingerprint,
            created=now(),
            resumes=resumes,
            resumed_from=checkpoints,
        )
        with contextlib.suppress(Conflict):  # another pod was faster, and its choice counts
            versions.store.write(_key(versions, own.run_id), encode(run), if_none_match=True)
    return _resumed_by(versions, own)


@contextlib.contextmanager
def marked(
    versions: Versions, run: Identity, on_error: Callable[[JobError], None]
) -> Iterator[None]:
    """Keeps other jobs from resuming the run if the block fails for a reason that lies in it.

    Other errors get a hint how to resume it; see `shutdown.resumable`.

    The record of a run that failed without a checkpoint is removed where the policy allows it.

    Args:
        versions: The model's versions and runs.
        run: A run that was begun with another source is not marked.
        on_error: Called when the store does not take the mark.
    """
    try:
        with shutdown.resumable():
            yield
    except (StoreError, AccessDenied):
        raise
    except Exception as error:  # a bug, too, would end the next job the same way
        own = isinstance(error, RUNS_OWN) or not isinstance(error, JobError)
        exit_code = getattr(error, "exit_code", BUG) if own else None
        if shutdown.reason() is None:  # not a signal that a library turned into an error
            try:
                with versions.store.within(PATIENCE):
                    _mark(versions, run, exit_code)
            except JobError as exc:
                on_error(exc)
        raise


def _resumed_by(versions: Versions, own: Identity) -> Identity:
    known = _read(versions, own.run_id)
    return replace(own, run_id=known.resumes) if known and known.resumes else own


def _mark(versions: Versions, run: Identity, exit_code: int | None) -> None:
    """Records why a run failed, or forgets one that there is nothing to resume of."""
    known = _read(versions, run.run_id)
    if known is None or known.fingerprint != run.source:
        return
    key = _key(versions, run.run_id)
    if not _checkpoints(versions, run.run_id):
        with contextlib.suppress(AccessDenied):
            versions.store.delete(key)
    elif exit_code is not None:
        versions.store.write(key, encode(replace(known, failed=exit_code)))


def _unfinished(versions: Versions, fingerprint: str) -> tuple[str | None, Sequence[str]]:
    """The newest run with this fingerprint that another job may resume, and its checkpoints.

    It has a checkpoint, no version and no failure, and was not resumed from there too often.
    """
    ids = list(versions.store.folders(f"{versions.name}/runs"))
    with ThreadPoolExecutor(READERS) as pool:
        runs = [run for run in pool.map(lambda each: _readable(versions, each), ids) if run]
    same = [r for r in runs if r.fingerprint == fingerprint and not (r.resumes or r.failed)]
    for run in sorted(same, key=lambda run: run.created, reverse=True):
        checkpoints = _checkpoints(versions, run.run_id)
        tries = [r for r in runs if r.resumes == run.run_id and r.resumed_from == checkpoints]
        if checkpoints and len(tries) < RESUMPTIONS and not _is_published(versions, run.run_id):
            return run.run_id, checkpoints
    return None, []


def _checkpoints(versions: Versions, run_id: str) -> Sequence[str]:
    """The ETags of a run's checkpoints."""
    found = []
    for slot in SLOTS:
        with contextlib.suppress(DataNotFound):
            found.append(versions.store.entry(f"{versions.name}/runs/{run_id}/{slot}").etag)
    return found


def _is_published(versions: Versions, run_id: str) -> bool:
    """True as well when its version is damaged: such a run is left to a person."""
    try:
        return publish.published_by(versions, run_id) is not None
    except DataError:
        return True


def _readable(versions: Versions, run_id: str) -> Run | None:
    """As `_read`; None as well for a damaged record, which is no reason to fail another run."""
    try:
        return _read(versions, run_id)
    except DataError:
        return None


def _read(versions: Versions, run_id: str) -> Run | None:
    """What is known of a run; None when nothing is, or when an earlier version began it."""
    key = _key(versions, run_id)
    try:
        data, _ = versions.store.read(key)
    except DataNotFound:
        return None
    return decode(data, Run, uri=f"{versions.store.uri}/{key}")


def _key(versions: Versions, run_id: str) -> str:
    return f"{versions.name}/runs/{run_id}/run.json"

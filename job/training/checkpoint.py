"""The checkpoints of a run: when, and where, and which one counts.

One object is one checkpoint. Two slots are written in turn: a write that is cut off costs one
checkpoint, never both. A slot is replaced only if it is as this process left it, so that a pod that
was taken for dead does not overwrite what its successor saved.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from job.errors import AccessDenied, DataError, DataNotFound, JobError, StoreError, UsageError
from job.process import shutdown
from job.process.shutdown import GRACE
from job.storage import Conflict, Store
from job.training.packed import UNUSABLE_HINT, Header, pack, unpack
from job.training.state import Position, State

SLOTS = ("checkpoint-a", "checkpoint-b")
SHARE = 0.02
"""Of a run's time that saving may take, when nothing else was asked for."""
SHORTEST = 10.0
"""Seconds between two checkpoints, at least."""
PATIENCE = 10.0
"""Seconds for which training waits when the store fails, before a checkpoint goes to the spare."""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A checkpoint of an earlier attempt was found.

    Attributes:
        position: Where it was.
        exact: The last bits will be the same.
        elsewhere: It was made on other hardware or versions.
    """

    position: Position
    exact: bool
    elsewhere: bool


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint was written: its size in bytes, the seconds that took, and the store's URI."""

    position: Position
    size: int
    seconds: float
    store: str


@dataclass(frozen=True, kw_only=True)
class NotSaved:
    """A checkpoint could not be written to a store; the one before it still stands."""

    error: JobError


@dataclass(frozen=True, kw_only=True)
class Unusable:
    """A checkpoint is there and cannot be used."""

    error: JobError


@dataclass(frozen=True, kw_only=True)
class Slow:
    """The first checkpoint took longer than the seconds that a pod is given to end."""

    size: int
    seconds: float
    grace: float


Notice = Resumed | Saved | NotSaved | Unusable | Slow


def is_due(every: float | None, *, cost: float, since: float) -> bool:
    """Whether it is time to save.

    Args:
        every: Seconds between two saves; None chooses them so that saving costs at most SHARE.
        cost: Seconds that the last save took.
        since: Seconds since it ended.
    """
    return since >= (max(SHORTEST, cost / SHARE) if every is None else every)


class Checkpoints:
    """The checkpoints of one run, in the store under its id.

    Args:
        store: Where they are kept.
        spare: Where one is kept that the store did not take, until it does.
        folder: `{name}/runs/{run id}`.
        run_id: The run.
        fingerprint: Gives the SHA-256 (hex) of what decides the model's bits, from `chosen`.
        environment: What the last bits depend on: the device and the libraries.
        repeats: Whether the device gives the same bits for the same program.
        every: Seconds between two saves; None chooses them so that saving costs at most SHARE.
        report: Gets what happens, as a value.

    Attributes:
        exact: Whether the run has always been where it was begun; None when nothing was resumed.
        chosen: What the run chose for options that were left open; None before it did.
        reasons: Why, in sentences.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        spare: Store,
        run_id: str,
        fingerprint: Callable[[Mapping[str, Any] | None], str],
        environment: Mapping[str, str],
        every: float | None,
        repeats: bool = True,
        report: Callable[[Notice], None] = lambda _: None,
    ):
        self.exact: bool | None = None
        self.chosen: Mapping[str, Any] | None = None
        self.reasons: tuple[str, ...] = ()
        self._store, self._spare, self._folder = store, spare, folder
        self._run_id, self._fingerprint, self._environment = run_id, fingerprint, dict(environment)
        self._every, self._repeats, self._report = every, repeats, report
        self._etags: dict[str, str | None] = {}
        self._sequence = 0
        self._cost = 0.0
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """True when it is time for the next checkpoint."""
        return is_due(self._every, cost=self._cost, since=time.monotonic() - self._saved_at)

    def latest(self) -> State | None:
        """The newest checkpoint that is whole; what cannot be used is reported with its reason.

        Raises:
            UsageError: The run was begun with other options or other data.
        """
        home, away = self._newest(self._store), self._newest(self._spare)
        newest = max(filter(None, (home, away)), key=lambda pair: pair[0].sequence, default=None)
        if newest is None:
            return None
        header, state = newest
        fingerprint = self._fingerprint(header.chosen)
        if header.fingerprint != fingerprint:
            raise UsageError(
                f"--run-id: expected the options and the data that run {self._run_id} was begun "
                f"with (fingerprint {header.fingerprint[:12]}). "
                f"Received: others ({fingerprint[:12]}).",
                hint="Use a new --run-id for a changed configuration or data set.",
            )
        self._sequence = header.sequence
        self.chosen, self.reasons = header.chosen, header.reasons
        same = dict(header.made_on) == self._environment
        self.exact = header.exact and same and self._repeats
        self._noted(self._store, header)
        self._report(Resumed(position=header.position, exact=self.exact, elsewhere=not same))
        if newest is away:
            self.save(state)
        return state

    def save(self, state: State) -> Mapping[str, object] | None:
        """Writes the next checkpoint; a failure is reported and costs no more than itself.

        Returns:
            Its place: key, epoch, step, as termination messages name it; None when it failed.
        """
        began = time.monotonic()
        sequence = self._sequence + 1
        header = Header(
            schema_version=1,
            run_id=self._run_id,
            fingerprint=self._fingerprint(self.chosen),
            chosen=self.chosen,
            reasons=self.reasons,
            made_on=self._environment,
            exact=self.exact is not False,
            sequence=sequence,
            position=state.position,
        )
        data = pack(header, state)
        written = self._written(self._store, sequence, data)
        store = self._store if written else self._spare
        if written:
            self._clear_spare()
        else:
            written = self._written(store, sequence, data)
        self._saved_at = time.monotonic()
        place = None
        first, self._cost = self._cost == 0, self._saved_at - began
        if written:
            self._sequence = sequence
            place = self._noted(store, header)
            self._report(
                Saved(position=state.position, size=len(data), seconds=self._cost, store=store.uri)
            )
        if first and self._cost > GRACE:
            self._report(Slow(size=len(data), seconds=self._cost, grace=GRACE))
        return place

    def _written(self, store: Store, sequence: int, data: bytes) -> bool:
        key = f"{self._folder}/{SLOTS[sequence % 2]}"
        known = store is self._store and key in self._etags
        there = self._etags.pop(key) if known else None  # a write that fails may arrive later
        try:
            with store.within(PATIENCE):
                etag = store.write(key, data, if_match=there, if_none_match=known and there is None)
        except (AccessDenied, DataError, DataNotFound, StoreError) as error:
            self._report(NotSaved(error=error))
            return False
        except Conflict:
            other = StoreError(
                f"{store.uri}/{key}: expected it as this process left it. Received: a "
                f"checkpoint of another pod of run {self._run_id}.",
                hint="Two pods of one run are at work; the next checkpoint replaces it.",
            )
            self._report(NotSaved(error=other))
            return False
        if store is self._store:
            self._etags[key] = etag
        return True

    def _clear_spare(self) -> None:
        for slot in SLOTS:
            with contextlib.suppress(JobError):  # the newest counts: an older one does no harm
                self._spare.delete(f"{self._folder}/{slot}")

    def _newest(self, store: Store) -> tuple[Header, State] | None:
        found = [pair for slot in SLOTS if (pair := self._read(store, slot))]
        return max(found, key=lambda pair: pair[0].sequence, default=None)

    def _read(self, store: Store, slot: str) -> tuple[Header, State] | None:
        key = f"{self._folder}/{slot}"
        try:
            data, etag = store.read(key)
            if store is self._store:
                self._etags[key] = etag
            header, state = unpack(data, uri=f"{store.uri}/{key}")
        except DataNotFound:
            if store is self._store:
                self._etags[key] = None
            return None
        except DataError as error:
            self._report(Unusable(error=error))
            return None
        if header.run_id != self._run_id:
            other = f"{key}: expected run {self._run_id}. Received: run {header.run_id}."
            self._report(Unusable(error=DataError(other, hint=UNUSABLE_HINT)))
            return None
        return header, state

    def _noted(self, store: Store, header: Header) -> Mapping[str, object]:
        """The checkpoint's place, which any end of this process names from now on."""
        key = f"{self._folder}/{SLOTS[header.sequence % 2]}"
        if store is self._spare:
            key = f"{store.uri}/{key}"
        place = {"key": key, "epoch": header.position.epoch, "step": header.position.step}
        shutdown.note(checkpoint=place)
        return place


def is_finished(store: Store, folder: str) -> bool:
    """Whether the newest checkpoint of a run is that of its end; damaged ones do not count."""
    found = []
    for slot in SLOTS:
        with contextlib.suppress(DataNotFound, DataError):
            key = f"{folder}/{slot}"
            found.append(unpack(store.read(key)[0], uri=f"{store.uri}/{key}")[0])
    newest = max(found, key=lambda header: header.sequence, default=None)
    return newest is not None and newest.position.finished


def discard(store: Store, folder: str) -> None:
    """Removes the checkpoints of a run that has published, where the store's policy allows it."""
    with contextlib.suppress(JobError), store.within(PATIENCE):
        for slot in SLOTS:
            store.delete(f"{folder}/{slot}")

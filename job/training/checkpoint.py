"""The checkpoints of a run: when, and where, and which one counts.

One object is one checkpoint. Two slots are written in turn: a write that is cut off costs one
checkpoint, never both. A slot is replaced only if it is as this process left it, so that a pod that
was taken for dead does not overwrite what its successor saved.
"""

import contextlib
import time
from collections.abc import Mapping

from job import events
from job.errors import AccessDenied, DataError, DataNotFound, JobError, StoreError, UsageError
from job.process.shutdown import GRACE
from job.storage import Conflict, Store
from job.training.packed import REFUSED, Header, pack, unpack
from job.training.state import State

SLOTS = ("checkpoint-a", "checkpoint-b")
SHARE = 0.02
"""Of a run's time that saving may take, when nothing else was asked for."""
SHORTEST = 10.0
"""Seconds between two checkpoints, at least."""
PATIENCE = 10.0
"""Seconds for which training waits when the store fails, before a checkpoint goes to the spare."""


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
        fingerprint: SHA-256 (hex) of what decides the model's bits.
        made_on: What the last bits depend on: the device and the libraries.
        every: Seconds between two saves; None chooses them so that saving costs at most SHARE.

    Attributes:
        exact: Whether the run has always been where it was begun; None when nothing was resumed.
        last: The place of the last one that was written: key, epoch, step; None before the first.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        spare: Store,
        run_id: str,
        fingerprint: str,
        made_on: Mapping[str, str],
        every: float | None,
    ):
        self.exact: bool | None = None
        self._store, self._spare, self._folder = store, spare, folder
        self._run_id, self._fingerprint, self._made_on = run_id, fingerprint, dict(made_on)
        self._every = every
        self._etags: dict[str, str | None] = {}
        self._sequence = 0
        self._cost = 0.0
        self._saved_at = time.monotonic()
        self.last: Mapping[str, object] | None = None

    def due(self) -> bool:
        """True when it is time for the next checkpoint."""
        return is_due(self._every, cost=self._cost, since=time.monotonic() - self._saved_at)

    def latest(self) -> State | None:
        """The newest checkpoint that is whole; what is refused is logged with its reason.

        Raises:
            UsageError: The run was begun with other options or other data.
        """
        home, away = self._newest(self._store), self._newest(self._spare)
        newest = max(filter(None, (home, away)), key=lambda pair: pair[0].sequence, default=None)
        if newest is None:
            return None
        header, state = newest
        if header.fingerprint != self._fingerprint:
            raise UsageError(
                f"--run-id: expected the options and the data that run {self._run_id} was begun "
                f"with (fingerprint {header.fingerprint[:12]}). "
                f"Received: others ({self._fingerprint[:12]}).",
                hint="Use a new --run-id for a changed configuration or data set.",
            )
        self._sequence = header.sequence
        self.exact = header.exact and dict(header.made_on) == self._made_on
        self.last = self._where(self._store, header)
        events.resumed(header.position, exact=self.exact)
        if newest is away:
            self.save(state)
        return state

    def save(self, state: State) -> Mapping[str, object] | None:
        """Writes the next checkpoint; a failure is logged and costs no more than itself.

        Returns:
            `last`.
        """
        began = time.monotonic()
        sequence = self._sequence + 1
        header = Header(
            schema_version=1,
            run_id=self._run_id,
            fingerprint=self._fingerprint,
            made_on=self._made_on,
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
        first, self._cost = self._cost == 0, self._saved_at - began
        if written:
            self._sequence = sequence
            self.last = self._where(store, header)
            events.checkpoint_saved(
                state.position, size=len(data), seconds=self._cost, store=store.uri
            )
        if first and self._cost > GRACE:
            events.checkpoint_slow(size=len(data), seconds=self._cost, grace=GRACE)
        return self.last

    def _written(self, store: Store, sequence: int, data: bytes) -> bool:
        key = f"{self._folder}/{SLOTS[sequence % 2]}"
        known = store is self._store and key in self._etags
        there = self._etags.pop(key) if known else None  # a write that fails may arrive later
        try:
            with store.within(PATIENCE):
                etag = store.write(key, data, if_match=there, if_none_match=known and there is None)
        except (AccessDenied, DataError, DataNotFound, StoreError) as error:
            events.checkpoint_failed(error)
            return False
        except Conflict:
            events.checkpoint_failed(
                StoreError(
                    f"{store.uri}/{key}: expected it as this process left it. Received: a "
                    f"checkpoint of another pod of run {self._run_id}.",
                    hint="Two pods of one run are at work; the next checkpoint replaces it.",
                )
            )
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
            events.checkpoint_refused(error)
            return None
        if header.run_id != self._run_id:
            events.checkpoint_refused(
                DataError(
                    f"{key}: expected run {self._run_id}. Received: run {header.run_id}.",
                    hint=REFUSED,
                )
            )
            return None
        return header, state

    def _where(self, store: Store, header: Header) -> Mapping[str, object]:
        key = f"{self._folder}/{SLOTS[header.sequence % 2]}"
        if store is self._spare:
            key = f"{store.uri}/{key}"
        return {"key": key, "epoch": header.position.epoch, "step": header.position.step}


def discard(store: Store, folder: str) -> None:
    """Removes the checkpoints of a run that has published, where the store's policy allows it."""
    with contextlib.suppress(JobError), store.within(PATIENCE):
        for slot in SLOTS:
            store.delete(f"{folder}/{slot}")

"""One object = one checkpoint: a State as bytes and back, kept in the two slots of a run.

A checkpoint is a safetensors file, so there is no pickle in it. The two slots are written in
turn: a write that is cut off costs one checkpoint, never both.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from job import events
from job.errors import AccessDenied, DataError, DataNotFound, StoreError, UsageError
from job.registry.documents import decode, encode
from job.shutdown import GRACE
from job.storage import Store
from job.training.state import Position, State

SLOTS = ("checkpoint-a", "checkpoint-b")
HEADER = "header"
REFUSED = "The run goes on from its other checkpoint, or from the start."
SHARE = 0.02
"""Of a run's time that saving may take, when nothing else was asked for."""
SHORTEST = 10.0
"""Seconds between two checkpoints, at least."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        schema_version: The version of this format.
        run_id: The run that it belongs to.
        fingerprint: SHA-256 (hex) of what decides the model's bits: options and data.
        made_on: The device and the libraries; on others the last bits may differ.
        sequence: Counts the checkpoints of a run.
        position: How far the run had come.
        sha256: SHA-256 (hex) of the arrays.
    """

    schema_version: Literal[1]
    run_id: str
    fingerprint: str
    made_on: Mapping[str, str]
    sequence: int
    position: Position
    sha256: str


def pack(header: Header, state: State) -> bytes:
    """Header and arrays as one object."""
    from safetensors.numpy import save

    return save({HEADER: np.frombuffer(encode(header), np.uint8), **state.arrays})


def unpack(data: bytes, *, uri: str) -> tuple[Header, State]:
    """What `pack` was given.

    Args:
        data: The object.
        uri: Where it was read; for the error message.

    Raises:
        DataError: The object is torn, damaged, or no checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except SafetensorError as exc:
        raise DataError(f"{uri}: expected a checkpoint. Received: {exc}.", hint=REFUSED) from exc
    if HEADER not in arrays:
        raise DataError(
            f"{uri}: expected a checkpoint. Received: tensors of something else.", hint=REFUSED
        )
    header = decode(arrays.pop(HEADER).tobytes(), Header, uri=uri)
    received = digest(arrays)
    if received != header.sha256:
        raise DataError(
            f"{uri}: expected arrays with SHA-256 {header.sha256}. Received: {received}.",
            hint=REFUSED,
        )
    return header, State(position=header.position, arrays=arrays)


def digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) of names, types, shapes and values."""
    sha256 = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha256.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()


class Checkpoints:
    """The checkpoints of one run, in the store under its id.

    Args:
        store: Where they are kept.
        spare: Where one is kept that the store did not take, until it does.
        folder: `{name}/runs/{run id}`.
        run_id: The run.
        fingerprint: SHA-256 (hex) of what decides the model's bits.
        made_on: The device and the libraries.
        every: Seconds between two saves; None chooses them so that saving costs at most SHARE.

    Attributes:
        exact: Whether the run goes on where it was begun; None when nothing was resumed.
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
        self._sequence = 0
        self._cost = 0.0
        self._saved_at = time.monotonic()
        self.last: Mapping[str, object] | None = None

    def due(self) -> bool:
        """True when it is time for the next checkpoint."""
        every = self._every
        if every is None:
            every = max(SHORTEST, self._cost / SHARE)
        return time.monotonic() - self._saved_at >= every

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
        self.exact = dict(header.made_on) == self._made_on
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
            sequence=sequence,
            position=state.position,
            sha256=digest(state.arrays),
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
        try:
            store.write(f"{self._folder}/{SLOTS[sequence % 2]}", data)
        except (AccessDenied, DataNotFound, StoreError) as error:
            events.checkpoint_failed(error)
            return False
        return True

    def _clear_spare(self) -> None:
        for slot in SLOTS:
            self._spare.delete(f"{self._folder}/{slot}")

    def _newest(self, store: Store) -> tuple[Header, State] | None:
        found = [pair for slot in SLOTS if (pair := self._read(store, slot))]
        return max(found, key=lambda pair: pair[0].sequence, default=None)

    def _read(self, store: Store, slot: str) -> tuple[Header, State] | None:
        key = f"{self._folder}/{slot}"
        try:
            data, _ = store.read(key)
            header, state = unpack(data, uri=f"{store.uri}/{key}")
        except DataNotFound:
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

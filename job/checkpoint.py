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
from job.documents import decode, encode
from job.errors import DataError, DataNotFound, StoreError, UsageError
from job.state import Position, State
from job.storage import Store

SLOTS = ("checkpoint-a", "checkpoint-b")
HEADER = "header"
SHARE = 0.02
"""Of a run's time that saving may take, when nothing else was asked for."""
SHORTEST = 10.0
"""Seconds between two checkpoints, at least."""
GRACE = 10.0
"""Seconds after SIGTERM in which a checkpoint must be saved."""


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
        raise DataError(f"{uri}: expected a checkpoint. Received: {exc}.") from exc
    if HEADER not in arrays:
        raise DataError(f"{uri}: expected a checkpoint. Received: tensors of something else.")
    header = decode(arrays.pop(HEADER).tobytes(), Header, uri=uri)
    received = digest(arrays)
    if received != header.sha256:
        raise DataError(
            f"{uri}: expected arrays with SHA-256 {header.sha256}. Received: {received}."
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
        folder: `{name}/runs/{run id}`.
        run_id: The run.
        fingerprint: SHA-256 (hex) of what decides the model's bits.
        made_on: The device and the libraries.
        every: Seconds between two saves; None chooses them so that saving costs at most SHARE.

    Attributes:
        exact: Whether the run goes on where it was begun; None when nothing was resumed.
    """

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        run_id: str,
        fingerprint: str,
        made_on: Mapping[str, str],
        every: float | None,
    ):
        self.exact: bool | None = None
        self._store, self._folder = store, folder
        self._run_id, self._fingerprint, self._made_on = run_id, fingerprint, dict(made_on)
        self._every = every
        self._sequence = 0
        self._cost = 0.0
        self._saved_at = time.monotonic()
        self._last: Mapping[str, object] | None = None

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
        found = [pair for slot in SLOTS if (pair := self._read(slot))]
        if not found:
            return None
        header, state = max(found, key=lambda pair: pair[0].sequence)
        if header.fingerprint != self._fingerprint:
            raise UsageError(
                f"--run-id: expected the options and the data that run {self._run_id} was begun "
                f"with (fingerprint {header.fingerprint[:12]}). "
                f"Received: others ({self._fingerprint[:12]}).",
                hint="Use a new --run-id for a changed configuration or data set.",
            )
        self._sequence = header.sequence
        self.exact = dict(header.made_on) == self._made_on
        self._last = self._where(header.sequence, header.position)
        events.resumed(header.position, exact=self.exact)
        return state

    def save(self, state: State) -> Mapping[str, object] | None:
        """Writes the next checkpoint; a failure is logged and costs no more than itself.

        Returns:
            The place of the last one that was written: key, epoch, step; None before the first.
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
        try:
            self._store.write(f"{self._folder}/{SLOTS[sequence % 2]}", data)
        except StoreError as error:
            events.checkpoint_failed(error)
            self._saved_at = time.monotonic()
            return self._last
        self._saved_at = time.monotonic()
        first, self._cost = self._cost == 0, self._saved_at - began
        self._sequence = sequence
        self._last = self._where(sequence, state.position)
        events.checkpoint_saved(state.position, size=len(data), seconds=self._cost)
        if first and self._cost > GRACE:
            events.checkpoint_slow(size=len(data), seconds=self._cost, grace=GRACE)
        return self._last

    def _read(self, slot: str) -> tuple[Header, State] | None:
        key = f"{self._folder}/{slot}"
        try:
            data, _ = self._store.read(key)
            header, state = unpack(data, uri=f"{self._store.uri}/{key}")
        except DataNotFound:
            return None
        except DataError as error:
            events.checkpoint_refused(error)
            return None
        if header.run_id != self._run_id:
            events.checkpoint_refused(
                DataError(f"{key}: expected run {self._run_id}. Received: run {header.run_id}.")
            )
            return None
        return header, state

    def _where(self, sequence: int, position: Position) -> Mapping[str, object]:
        key = f"{self._folder}/{SLOTS[sequence % 2]}"
        return {"key": key, "epoch": position.epoch, "step": position.step}

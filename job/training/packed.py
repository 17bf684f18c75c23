"""One checkpoint as bytes and back: a safetensors file, so there is no pickle in it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError
from job.storage.documents import decode, encode
from job.training.state import Position, State

HEADER, SHA256 = "header", "sha256"
"""The arrays of bytes that are no part of the state."""

UNUSABLE_HINT = "The run goes on from its other checkpoint, or from the start."


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        schema_version: The version of this format.
        run_id: The run that it belongs to.
        fingerprint: SHA-256 (hex) of what decides the model's bits: options and data.
        made_on: The device and the libraries; on others the last bits may differ.
        exact: Whether the run was on these from its beginning.
        sequence: Counts the checkpoints of a run.
        position: How far the run had come.
        chosen: What the run chose for options that were left open; None of older versions.
        reasons: Why, in sentences.
    """

    schema_version: Literal[1]
    run_id: str
    fingerprint: str
    made_on: Mapping[str, str]
    exact: bool
    sequence: int
    position: Position
    chosen: Mapping[str, Any] | None = None
    reasons: tuple[str, ...] = ()


def pack(header: Header, state: State) -> bytes:
    """Header and arrays as one object, with a hash of them all."""
    from safetensors.numpy import save

    arrays = {HEADER: np.frombuffer(encode(header), np.uint8), **state.arrays}
    return save({SHA256: np.frombuffer(digest(arrays), np.uint8), **arrays})


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
        expected, received = arrays.pop(SHA256).tobytes(), digest(arrays)
        header = arrays.pop(HEADER).tobytes()
    except (SafetensorError, KeyError) as exc:  # tensors of something else, of another type
        raise DataError(
            f"{uri}: expected a checkpoint. Received: {type(exc).__name__}: {exc}.",
            hint=UNUSABLE_HINT,
        ) from exc
    if received != expected:
        raise DataError(
            f"{uri}: expected a checkpoint with SHA-256 {expected.hex()}. "
            f"Received: {received.hex()}.",
            hint=UNUSABLE_HINT,
        )
    found = decode(header, Header, uri=uri)
    return found, State(position=found.position, arrays=arrays)


def digest(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """SHA-256 of names, types, shapes and values."""
    sha256 = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha256.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.digest()

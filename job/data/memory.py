"""Memory for the arrays of a data set, within the limit of the machine or container."""

import contextlib
import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.errors import DataError

CGROUPS = Path("/sys/fs/cgroup")
"""Where the control groups are mounted; a container sees its own one at the root."""

OWN_CGROUPS = Path("/proc/self/cgroup")

ALIGNMENT = 64
"""Bytes; TensorFlow aborts the process on a tensor whose data begins elsewhere."""


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """An array without values.

    Args:
        shape: Its shape.
        dtype: Its dtype.
        name: How messages call the file that asks for it.

    Raises:
        DataError: It is larger than this machine's or container's memory.
    """
    check(shape, dtype.itemsize, name)
    try:
        return aligned(shape, dtype)
    except MemoryError as exc:
        raise _too_large(name, math.prod(shape) * dtype.itemsize, shape) from exc


def check(shape: tuple[int, ...], itemsize: int, name: str) -> None:
    """Rejects data before it is read.

    Args:
        shape: What a file announces.
        itemsize: Bytes of a value.
        name: How messages call the file.

    Raises:
        DataError: It is larger than this machine's or container's memory.
    """
    needed = math.prod(shape) * itemsize
    if needed > limit():
        raise _too_large(name, needed, shape)


def _too_large(name: str, needed: int, shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"{name}: expected data that fits into memory ({limit() / 2**30:.1f} GiB). "
        f"Received: an array of {needed / 2**30:.1f} GiB, shape {shape}.",
        hint="Use less data or a machine with more memory.",
    )


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """As `np.empty`, whose large arrays begin 16 bytes into a page: TensorFlow has to copy those.

    Raises:
        MemoryError: The machine has no room for it.
    """
    buffer = np.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    begin = -buffer.ctypes.data % ALIGNMENT
    return np.ndarray(shape, dtype, buffer, begin)


def limit() -> int:
    """Bytes that this process can have at best."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    own = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    set_ones = (each for each in own if each != resource.RLIM_INFINITY)  # `ulimit -d` and -v
    return min((physical, *_cgroup_limits(), *set_ones))


def _cgroup_limits() -> Iterator[int]:
    """The limits of the control group, of version 2 or 1, that this process is in."""
    lines = OWN_CGROUPS.read_text().splitlines() if OWN_CGROUPS.exists() else []
    below = {(kind == "memory", path) for _, kind, path in (line.split(":", 2) for line in lines)}
    for first, path in {(False, "/"), (True, "/"), *below}:
        group = path.strip("/")  # an absolute path would leave the folder
        limit = (
            CGROUPS / "memory" / group / "memory.limit_in_bytes"
            if first
            else CGROUPS / group / "memory.max"
        )
        with contextlib.suppress(OSError, ValueError):  # no such group, or the word max
            yield int(limit.read_text())

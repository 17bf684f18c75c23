"""The scratch folder of a command: gone at its end, and an error of its own when it is full."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from job.errors import AccessDenied, StoreError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, None}
"""None: NumPy and HDF5 tell of a write that was cut short without a number."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder below TMPDIR.

    Raises:
        StoreError: The disk is full or cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="mlp-job-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as exc:
        if exc.errno not in FULL:
            raise
        raise StoreError(
            f"Expected room in {tempfile.gettempdir()}. Received: {exc}.",
            hint="Free some space, or point TMPDIR to a larger disk.",
        ) from exc


def spare() -> Path:
    """The folder below TMPDIR, this user's own, for what must outlive the process.

    Raises:
        AccessDenied: It is somebody else's.
    """
    folder = Path(tempfile.gettempdir(), f"mlp-job-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise AccessDenied(
            f"Expected {folder} to be this user's. Received: the folder of user "
            f"{folder.stat().st_uid}.",
            hint="Point TMPDIR elsewhere, and find out who made it.",
        )
    return folder

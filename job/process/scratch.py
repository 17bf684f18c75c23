"""The scratch folder of a command: gone at its end, and an error of its own when it is full."""

import contextlib
import errno
import hashlib
import os
import stat
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


def spare(store: str) -> Path:
    """The folder below TMPDIR, this user's own, for what must outlive the process.

    Args:
        store: The URI of the store that it stands in for.

    Raises:
        AccessDenied: It is somebody else's.
    """
    folder = Path(tempfile.gettempdir(), f"mlp-job-{os.getuid()}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise AccessDenied(
            f"Expected {folder} to be a folder of user {os.getuid()}. Received: "
            f"{stat.filemode(found.st_mode)}, of user {found.st_uid}.",
            hint="Point TMPDIR elsewhere, and find out who made it.",
        )
    place = store if "://" in store else str(Path(store).resolve())
    return folder / hashlib.sha256(place.encode()).hexdigest()[:16]

"""Opening and reading local files; the operating system's and the packers' errors stop here."""

import contextlib
import errno
import gzip
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from job.errors import AccessDenied, DataError, DataNotFound, StoreError

NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}

DECODERS = {None, errno.EINVAL}
"""Not from the disk: a decoder's own error, and a seek to where a lying header points."""


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Maps what goes wrong while a file is opened or read.

    Args:
        name: How messages call the file.

    Raises:
        DataNotFound: There is no such file.
        AccessDenied: The file may not be read.
        DataError: The file's packing is corrupt.
        StoreError: The disk failed.
    """
    try:
        yield
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, struct.error) as exc:
        raise _damaged(name, exc) from exc
    except PermissionError as exc:
        raise AccessDenied(
            f"{name}: expected permission to read it. Received: {exc.strerror}.",
            hint=f"Let user {os.getuid()}, as whom the job runs, read the file and its folders.",
        ) from exc
    except OSError as exc:
        if exc.errno in DECODERS:
            raise _damaged(name, exc) from exc
        if exc.errno in NOWHERE:
            raise DataNotFound(
                f"{name}: expected a file or folder there. Received: {exc.strerror}.",
                hint="Check the path, and that the volume is mounted.",
            ) from exc
        raise StoreError(
            f"{name}: expected to read it. Received: {exc}.", hint="Check the disk."
        ) from exc


def _damaged(name: str, exc: Exception) -> DataError:
    return DataError(
        f"{name}: expected an undamaged file. Received: {str(exc)[:300] or 'an early end'}.",
        hint="Copy the file again, or write it anew.",
    )


@contextlib.contextmanager
def opened(path: Path, name: str) -> Iterator[io.BufferedReader]:
    """A regular file, open for reading; maps errors as `reading` does, inside the block too.

    Raises:
        DataError: There is something else at that path: a folder, a pipe, a device.
    """
    with reading(name), os.fdopen(_open_file(path, name), "rb") as stream:
        yield stream


def is_folder(path: Path, name: str) -> bool:
    """Whether there is a folder at a path; maps errors as `reading` does."""
    with reading(name):
        return stat.S_ISDIR(_existing(path).st_mode)


def size(stream: BinaryIO) -> int:
    """The bytes of an open file on disk."""
    return os.fstat(stream.fileno()).st_size


def unpacked(stream: BinaryIO) -> BinaryIO:
    """The bytes of an open file, unpacked when its content says that it is a gzip file."""
    packed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    return gzip.GzipFile(fileobj=stream) if packed else stream  # type: ignore[return-value]


def _existing(path: Path) -> os.stat_result:
    if "\0" in str(path):  # which no system call takes
        raise OSError(errno.ENOENT, "a path with a NUL character")
    return path.stat()


def _open_file(path: Path, name: str) -> int:
    _existing(path)
    # Opening a pipe would wait for a writer, without O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise DataError(
        f"{name}: expected a regular file. Received: {kind}.",
        hint="Write the data to a file first.",
    )

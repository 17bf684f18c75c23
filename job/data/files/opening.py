"""Open, unpack and read local files; the operating system's and the packers' errors stop here."""

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from job.data.files.ranges import Ranges, Remote
from job.errors import AccessDenied, DataError, DataNotFound, StoreError

Source = Path | Remote
"""Where a file lies, or an object that is read in flight."""

NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO}

DECODERS = {None, errno.EINVAL}
"""Not from the disk: a decoder's own error, and a seek to where a lying header points."""

UNPACKING = (
    gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error,
)  # fmt: skip

BESIDE = re.compile(r"(.*/)?[._].*|__MACOSX/.*|.*/")
"""Members of a zip archive that are no data: folders, and what Macs add."""


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
    except UNPACKING as exc:
        raise damaged(name, exc) from exc
    except PermissionError as exc:
        raise AccessDenied(
            f"{name}: expected permission to read it. Received: {exc.strerror}.",
            hint=f"Let user {os.getuid()}, as whom the job runs, read the file and its folders.",
        ) from exc
    except OSError as exc:
        if exc.errno in DECODERS:
            raise damaged(name, exc) from exc
        if exc.errno in NOWHERE:
            raise DataNotFound(
                f"{name}: expected a file or folder there. Received: {exc.strerror}.",
                hint="Check the path, and that the volume is mounted.",
            ) from exc
        raise StoreError(
            f"{name}: expected to read it. Received: {exc}.", hint="Check the disk."
        ) from exc


def damaged(name: str, exc: Exception) -> DataError:
    """The error about a file that cannot be unpacked."""
    return DataError(
        f"{name}: expected an undamaged file. Received: {str(exc)[:300] or 'an early end'}.",
        hint="Copy the file again, or write it anew.",
    )


@contextlib.contextmanager
def opened(path: Source, name: str) -> Iterator["io.BufferedReader[Any]"]:
    """A regular file or an object, open for reading; maps errors as `reading` does, inside too.

    Raises:
        DataError: There is something else at that path: a folder, a pipe, a device.
        StoreError, AccessDenied, DataNotFound: An object cannot be read.
    """
    if isinstance(path, Remote):
        with reading(name), io.BufferedReader(Ranges(path)) as stream:
            yield stream
    else:
        with reading(name), os.fdopen(_open_file(path, name), "rb") as stream:
            yield stream


def spread(stream: "io.BufferedReader[Any]", places: int) -> None:
    """Prepares a stream for a reader that goes on at several places in turns."""
    if isinstance(stream.raw, Ranges):
        stream.raw.spread(places)


def is_folder(path: Path, name: str) -> bool:
    """Whether there is a folder at a path; maps errors as `reading` does."""
    with reading(name):
        return stat.S_ISDIR(_existing(path).st_mode)


def size(stream: BinaryIO) -> int:
    """The bytes of an open file, which stands at its first one then."""
    found = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    return found


def used(path: Path) -> None:
    """Notes the time at which a file in a cache was of use, where that can be written."""
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def sha256(path: Source, name: str) -> str:
    """The SHA-256 (hex) of a file; maps errors as `opened` does."""
    with opened(path, name) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unpacked(stream: BinaryIO, name: str = "") -> BinaryIO:
    """The bytes of an open file, unpacked when its first bytes say how it is packed.

    Args:
        stream: The file; gzip, bzip2, xz and Zstandard are unpacked, and a zip archive of one file.
        name: How messages call the file.

    Returns:
        A seekable stream.

    Raises:
        DataError: A zip archive of several files, or one that needs a password.
    """
    start = stream.read(6)
    stream.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    if re.match(rb"BZh[1-9]1A|BZh[1-9]\x17r", start):
        return cast(BinaryIO, bz2.BZ2File(stream))
    if start == b"\xfd7zXZ\0":
        return cast(BinaryIO, lzma.LZMAFile(stream))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return cast(BinaryIO, io.BufferedReader(_Zstandard(stream)))
    if start.startswith(b"PK\3\4"):
        archive = zipfile.ZipFile(stream)
        member = _member(archive, name)
        if member is not None:
            return cast(BinaryIO, archive.open(member))
    return stream


class _Zstandard(io.RawIOBase):
    """What is packed with Zstandard; seeks to the beginning only."""

    def __init__(self, stream: BinaryIO):
        self._packed = stream
        self._streams: list[Any] = []  # one that is dropped closes the file
        self.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        import pyarrow as pa

        if offset or whence != io.SEEK_SET:
            raise io.UnsupportedOperation("Expected the beginning.")
        self._packed.seek(0)
        packed = pa.PythonFile(self._packed, "r")
        self._streams.append(pa.CompressedInputStream(packed, "zstd"))
        return 0

    def readinto(self, buffer: Any) -> int:
        try:
            found = self._streams[-1].read(len(buffer))
        except OSError as exc:
            if exc.errno is not None:
                raise
            raise EOFError(str(exc)) from exc  # as of the other packers
        buffer[: len(found)] = found
        return len(found)


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo | None:
    """The one file in a zip archive; None when the archive itself is the file, as .xlsx is."""
    infos = archive.infolist()
    if any(info.filename == "[Content_Types].xml" for info in infos):
        return None
    files = [info for info in infos if not BESIDE.fullmatch(info.filename)]
    if len(files) != 1 or files[0].flag_bits & 1:
        some = ", ".join(info.filename[:80] for info in files[:5])
        received = f"{len(files)}: {some}" if len(files) != 1 else "one that needs a password"
        raise DataError(
            f"{name}: expected a zip archive of one file. Received: {received}.",
            hint="Unpack it first, and name the file or the folder.",
        )
    return files[0]


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

"""LocalStore: the same promises in a plain folder of one host, by flock and os.replace."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from job.errors import AccessDenied, DataError, DataNotFound, JobError, StoreError
from job.storage.store import Conflict, Entry, as_prefix, checked, replaced

MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
STRAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_EMPTY = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}
LOCK_TRIES = 1000
"""An empty folder may be removed while it is about to be locked; each time costs one try."""


class LocalStore:
    """Objects as files; the ETag is the SHA-256 of the content.

    Writers of one folder take turns: whoever holds its lock may create, replace and remove in
    it. The lock is the kernel's (flock on the folder itself) and ends with the process, so
    whatever a killed writer left behind is litter to the next. One host; not for NFS.

    Args:
        uri: The folder; the first write creates it.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self._root = Path(uri)
        self._made: set[Path] = set()

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        return contextlib.nullcontext()  # a disk is asked once

    def read(self, key: str) -> tuple[bytes, str]:
        path = self._path(key)
        with _reading(path):
            data = path.read_bytes()
        return data, _etag(data)

    def write(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        path = self._path(key)
        with _writing(path), self._locked(path.parent) as folder:
            if if_match is not None or if_none_match:
                current = _etag(path.read_bytes()) if path.exists() else None
                if current == _etag(data):
                    return current
                if current != if_match:
                    raise Conflict(f"{path} is not what it was.")
            _replace(path, folder, lambda temporary: temporary.write_bytes(data))
        return _etag(data)

    def upload(self, path: Path, key: str) -> None:
        target = self._path(key)
        with _writing(target), self._locked(target.parent) as folder:
            _replace(target, folder, lambda temporary: shutil.copyfile(path, temporary))

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)
        with _reading(source), source.open("rb") as reader, _writing(path), path.open("wb") as out:
            shutil.copyfileobj(reader, out, 1 << 20)

    def read_range(self, entry: Entry, start: int, stop: int) -> bytes:
        if self.entry(entry.key) != entry:
            raise replaced(self.uri, entry)
        path = self._path(entry.key)
        with _reading(path), path.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def entry(self, key: str) -> Entry:
        path = self._path(key)
        with _reading(path), path.open("rb") as file:
            etag = hashlib.file_digest(file, "sha256").hexdigest()
            return Entry(key=key, size=os.fstat(file.fileno()).st_size, etag=etag)

    def list(self, folder: str) -> Iterator[Entry]:
        top = self._root / as_prefix(folder)
        with _reading(top):
            for path in sorted(top.rglob("*")):
                if path.is_file() and not _is_temporary(path):
                    yield self.entry(path.relative_to(self._root).as_posix())

    def folders(self, folder: str) -> Iterator[str]:
        top = self._root / as_prefix(folder)
        with _reading(top):
            if not folder or top.is_dir():
                yield from sorted(path.name for path in top.iterdir() if path.is_dir())

    def delete(self, key: str) -> bool:
        path = self._path(key)
        with _writing(path):
            if path.exists():
                with self._locked(path.parent):
                    path.unlink(missing_ok=True)
                self._remove_empty(path.parent)
        return False

    def expect_deletable(self, folder: str) -> None:
        top = self._root / as_prefix(folder)
        for each in (top.parent, top, *(path for path in top.rglob("*") if path.is_dir())):
            if each.exists() and not os.access(each, os.W_OK | os.X_OK):
                raise _failure("delete from", each, PermissionError(errno.EACCES, "read-only"))

    def learn(self, key: str) -> None:
        pass  # every write is one move of a file, whatever its size

    def _path(self, key: str) -> Path:
        return self._root / checked(key)

    @contextlib.contextmanager
    def _locked(self, folder: Path) -> Iterator[int]:
        """Makes the folder, holds its lock and yields its file descriptor."""
        for _ in range(LOCK_TRIES):
            self._make(folder)
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is(folder, descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
        raise StoreError(
            f"Expected a folder {folder} that stays. Received: one that vanishes.",
            hint="Find out what keeps removing it, and run the same command again.",
        )

    def _make(self, folder: Path) -> None:
        if folder.exists():
            return  # what is not a folder fails when it is opened as one
        self._make(folder.parent)
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # others make and remove
            folder.mkdir()
            self._made.add(folder)
            _sync(folder.parent)

    def _remove_empty(self, folder: Path) -> None:
        """Removes empty folders upwards, as far as the store is theirs or this object's making.

        Under the lock, since whoever holds it counts on the folder.
        """
        while folder in self._made or self._root in folder.parents:
            with self._locked(folder):
                try:
                    folder.rmdir()
                except OSError as exc:
                    if exc.errno in NOT_EMPTY:
                        return
                    raise
            self._made.discard(folder)
            folder = folder.parent


def _replace(path: Path, folder: int, fill: Callable[[Path], object]) -> None:
    """Fills a temporary file and puts it in the path's place, durably; the lock is held."""
    for litter in path.parent.glob(".*.tmp"):
        litter.unlink()
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        fill(temporary)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    os.fsync(folder)


def _sync(path: Path) -> None:
    """Waits until a file's or a folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is(folder: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in MISSING:
            raise DataNotFound(
                f"Expected to read {path}. Received: {exc.strerror}.", hint="Check the path."
            ) from exc
        raise _failure("read", path, exc) from exc


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _failure("write", path, exc) from exc


def _failure(verb: str, path: Path, exc: OSError) -> JobError:
    message = f"Expected to {verb} {path}. Received: {exc.strerror}."
    if exc.errno in STRAY:
        stray = next(each for each in (path, *path.parents) if each.exists())
        return DataError(
            f"Expected to {verb} {path}. Received: {exc.strerror}: {stray}.",
            hint="Move it away, and run the same command again.",
        )
    if exc.errno in DENIED:
        return AccessDenied(message, hint="Check the folder's owner, mode and mount options.")
    if exc.errno in FULL:
        return StoreError(message, hint="Free some space and run the same command again.")
    return StoreError(message, hint="Check the disk and run the same command again.")

"""Cache of the rows of files, kept by their content, so that a stream does not read them again."""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import job
from job.data.files import opening
from job.data.files.opening import Source
from job.data.files.ranges import Remote
from job.data.files.staging import OBJECTS
from job.data.place import Disk, Place
from job.errors import DataError
from job.process import log
from job.storage.documents import decode, encode

SHARE = 0.5
"""Of its disk that the folder of --cache may take."""

ROWS = "rows"
"""Of the folder of --cache, what has rows; beside it lie objects from S3 (`files.staging`)."""

Rows = TypeVar("Rows")
Known = TypeVar("Known")


@dataclass(frozen=True, kw_only=True)
class Head(Generic[Known]):
    """What is kept beside the rows of a file.

    Attributes:
        sha256: Of the rows as they are kept, in hex.
        known: What the reader knows besides.
    """

    sha256: str
    known: Known


def kept(
    place: Place,
    content: Callable[[], str],
    name: str,
    how: Sequence[object],
    kind: type[Known],
    read: Callable[[Place], tuple[Rows, Known]],
    opened: Callable[[BinaryIO, Known], Rows],
) -> tuple[Rows, Known]:
    """The rows of a file: those in --cache, or else what `read` makes, which are kept there.

    Args:
        place: Where rows go; one without a cache keeps none.
        content: What tells the file's content from any other.
        name: How messages call the file.
        how: What its rows depend on besides.
        kind: What is known besides the rows.
        read: Reads the file into a place, with one `array` or `table` of it.
        opened: The rows in a file, memory-mapped.

    Raises:
        StoreError: The disk of the cache is full; nothing of the file is left there.
        What `read` raises.
    """
    if not isinstance(place, Disk) or place.cache is None:
        return read(place)
    folder = place.cache / ROWS
    key = hashlib.sha256(repr((job.__version__, content(), *how)).encode()).hexdigest()[:32]
    rows, head = folder / f"{key}.rows", folder / f"{key}.json"
    with opening.reading(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
    with contextlib.suppress(OSError, DataError), rows.open("rb") as file:
        said = decode(head.read_bytes(), Head[kind], uri=name)  # type: ignore[valid-type]
        if hashlib.file_digest(file, "sha256").hexdigest() == said.sha256:
            opening.used(rows)
            log.event("data.cached", f"{name}: its rows were in --cache.", file=name)
            return opened(file, said.known), said.known
    with place.full(name, folder):
        with _written(rows) as file:
            made, known = read(replace(place, folder=folder, into=file))
        with rows.open("rb") as file, _written(head) as beside:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            beside.write(encode(Head(sha256=sha256, known=known)))
    return made, known


def content(path: Source, name: str) -> str:
    """What tells a file's content from any other: its SHA-256, for which it is read, or its ETag.

    Raises:
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    if isinstance(path, Remote):
        return repr((path.store.uri, path.entry))
    return opening.sha256(path, name)


@contextlib.contextmanager
def bounded(folder: str | None) -> Iterator[None]:
    """Afterwards the folder of --cache takes no more than its share of the disk.

    What was not used for longest goes first; what the block has used stays.
    """
    since = time.time() - 1  # file systems round
    try:
        yield
    finally:
        if folder:
            with contextlib.suppress(OSError):  # a folder that cannot be written stays as it is
                _evict(Path(folder), since)


def _evict(cache: Path, since: float) -> None:
    found = [path for name in (ROWS, OBJECTS) for path in (cache / name).glob("[!.]*")]
    known = sorted(
        (path.stat().st_atime, path.stat().st_size, path)
        for path in found
        if path.suffix != ".json"
    )
    more = sum(size for _, size, _ in known) - SHARE * shutil.disk_usage(cache).total
    for last, size, path in known:
        if more <= 0 or last >= since:
            break
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        more -= size


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, and is gone when it fails."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(unfinished.open("w+b"))
        fcntl.flock(file, fcntl.LOCK_EX)  # so that nobody else sweeps it away
        while not os.fstat(file.fileno()).st_nlink:  # as somebody did before it was locked
            file = stack.enter_context(unfinished.open("w+b"))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
            file.flush()
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed left behind."""
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)

"""Cache of the rows of files, kept by their content, so that a stream does not read them again."""

import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import job
from job.data.files import opening
from job.data.files.opening import Source
from job.data.files.ranges import Remote
from job.data.findings import Finding
from job.errors import DataError
from job.process import log
from job.storage.documents import decode, encode


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is known of a table's file besides its rows.

    Attributes:
        sha256: Of the rows as they are kept, in hex.
        written: As of `Part`.
        index: As of `Part`.
        delimiter: As of `Part`.
        findings: As of `Part`.
    """

    sha256: str
    written: tuple[str, ...]
    index: tuple[str, ...]
    delimiter: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Cached:
    """The place of a file's rows in the cache.

    Attributes:
        folder: Where rows are kept.
        key: Of the file's content, and of how it is read.
        name: How messages call the file.
    """

    folder: Path
    key: str
    name: str

    @classmethod
    def of(cls, cache: Path, path: Source, name: str, *how: object) -> "Cached":
        """The place of a file.

        Args:
            cache: The folder of --cache.
            path: The file.
            name: How messages call it.
            how: What its rows depend on besides.

        Raises:
            DataNotFound, AccessDenied, StoreError: As `opening.opened`.
        """
        if isinstance(path, Remote):
            content = repr((path.store.uri, path.entry))
        else:
            content = opening.sha256(path, name)
        key = hashlib.sha256(repr((job.__version__, content, name, *how)).encode()).hexdigest()
        folder = cache / "rows"
        with opening.reading(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
        return cls(folder=folder, key=key[:32], name=name)

    @property
    def rows(self) -> Path:
        """The file of the rows, in Arrow's format."""
        return self.folder / f"{self.key}.arrow"

    def head(self) -> Head | None:
        """What is known besides the rows; None when they are not there, or were damaged since."""
        try:
            head = decode((self.folder / f"{self.key}.json").read_bytes(), Head, uri=self.name)
            whole = opening.sha256(self.rows, self.name) == head.sha256
        except (OSError, DataError):
            return None
        if not whole:
            return None
        log.event("data.cached", f"{self.name}: its rows were in --cache.", file=self.name)
        return head

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """A file for the rows, which `keep` makes theirs; gone when the block fails.

        Raises:
            OSError: The disk is full.
        """
        path = self.folder / f".{self.key}.{secrets.token_hex(4)}"
        with path.open("w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # so that no other process sweeps it away
            try:
                yield file
                file.flush()
                path.replace(self.rows)
            finally:
                path.unlink(missing_ok=True)

    def keep(self, **known: Any) -> None:
        """Says that the rows are complete; `known` is what `Head` has besides the hash."""
        body = encode(Head(sha256=opening.sha256(self.rows, self.name), **known))
        path = self.folder / f"{self.key}.{secrets.token_hex(4)}.new"
        path.write_bytes(body)
        path.replace(self.folder / f"{self.key}.json")


def _sweep(folder: Path) -> None:
    """Removes what processes that were killed left behind."""
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)

"""Is a file the one that was published? Sizes and SHA-256, and what a version's check found."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from job.registry.manifest import FileRecord


@dataclass(frozen=True, kw_only=True)
class FileCheck:
    """One file of a version.

    Attributes:
        path: Relative to the version's folder.
        size: Bytes, as the manifest has it.
        problem: What differs from the manifest; empty when nothing does.
    """

    path: str
    size: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What hashing every file of a version gave."""

    version: int
    files: tuple[FileCheck, ...]

    @property
    def damaged(self) -> tuple[FileCheck, ...]:
        """The files that are not as published."""
        return tuple(file for file in self.files if file.problem)


def hashed(path: Path) -> FileRecord:
    """A local file's size and SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(size=path.stat().st_size, sha256=digest)


def difference(path: Path, expected: FileRecord) -> str:
    """How a local file differs from what was published; empty when it does not."""
    received = hashed(path)
    if received.size != expected.size:
        return f"expected {expected.size:,} bytes, received {received.size:,}"
    if received.sha256 != expected.sha256:
        return f"expected SHA-256 {expected.sha256}, received {received.sha256}"
    return ""

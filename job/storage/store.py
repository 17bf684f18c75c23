"""What every store can do: Store, Entry and Conflict."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from job.errors import AccessDenied, StoreError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One object in a listing.

    Attributes:
        key: Relative to the store.
        size: Bytes.
        etag: Changes whenever the content does.
    """

    key: str
    size: int
    etag: str


class Conflict(Exception):
    """A conditional write was lost to another writer.

    The caller reads again and decides; no user ever sees it.
    """


class Rejected(AccessDenied):
    """The server rejects a request for good: no retry and no other pod will fare better."""


class Store(Protocol):
    """Objects under keys such as `mnist/champion.json`, relative to the store's URI.

    A write is seen whole or not at all. Every method raises:
        DataNotFound: No such key, bucket or folder.
        AccessDenied: Wrong or missing credentials, no permission, or read-only; a Rejected when
            no credentials would help.
        DataError: Something else stands where a folder or an object belongs.
        StoreError: Anything else, after the retries are spent.
    """

    uri: str

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Bounds the time for what fails in the block, in all threads.

        When so many seconds have passed, nothing that failed is tried again, and no request
        waits longer than five more for an answer. What gets answers goes on.
        """
        ...

    def read(self, key: str) -> tuple[bytes, str]:
        """The body and the ETag of a small object."""
        ...

    def write(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        """Writes an object and returns its ETag.

        A response that gets lost is recognised: when the condition fails and the object is
        byte for byte what was sent, the write is one's own and has succeeded. So put
        something into `data` that tells writers apart.

        Args:
            key: The object's key.
            data: The object's body.
            if_match: Write only over the object with this ETag.
            if_none_match: Write only when there is no such object.

        Raises:
            Conflict: The condition does not hold.
        """
        ...

    def upload(self, path: Path, key: str) -> None:
        """Writes a file of any size."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Reads an object of any size into a file; its folder must exist."""
        ...

    def read_range(self, entry: Entry, start: int, stop: int) -> bytes:
        """The bytes from start to before stop of an object as it was listed.

        Raises:
            StoreError: It was replaced since, besides the reasons above.
        """
        ...

    def entry(self, key: str) -> Entry:
        """Size and ETag of an object of any size, without its body."""
        ...

    def list(self, folder: str) -> Iterator[Entry]:
        """All objects below a folder, at any depth; "" is the whole store."""
        ...

    def folders(self, folder: str) -> Iterator[str]:
        """The names of the folders directly inside a folder."""
        ...

    def delete(self, key: str) -> bool:
        """Removes an object; one that does not exist is no error.

        Returns:
            Whether the store keeps its bytes, as a versioned bucket does.
        """
        ...

    def expect_deletable(self, folder: str) -> None:
        """Proves that objects below a folder may be deleted, and deletes none.

        Raises:
            AccessDenied: They may not.
        """
        ...

    def learn(self, key: str) -> None:
        """Finds out what the server can do with large conditional writes.

        Args:
            key: An object that exists, and that may be replaced.
        """
        ...


def replaced(uri: str, entry: Entry) -> StoreError:
    """The error about an object that is another one than was listed."""
    return StoreError(
        f"{uri}: expected {entry.key} as it was listed, {entry.size} bytes with ETag "
        f"{entry.etag}. Received: another object.",
        hint="Try again; it was replaced meanwhile.",
    )


def checked(key: str) -> str:
    """The key itself, when it cannot lead out of the store.

    Raises:
        ValueError: An empty, absolute or climbing key; no user's input comes this far.
    """
    if {"", ".", ".."} & set(key.split("/")) or "\0" in key:
        raise ValueError(f"Expected a relative key. Received: {key!r}.")
    return key


def as_prefix(folder: str) -> str:
    """The common start of all keys in a folder: "" or something that ends in a slash."""
    stripped = folder.rstrip("/")
    return checked(stripped) + "/" if stripped else ""

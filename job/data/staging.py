"""Files from S3, brought into scratch; local ones stay where they are."""

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.errors import DataNotFound, StoreError, UsageError
from job.storage import Entry, Store, open_store

DOWNLOADS = 4
"""Files fetched at once."""


def file(uri: str, scratch: Path) -> Path:
    """One file.

    Args:
        uri: A path or s3://bucket/key.
        scratch: The folder to download to.

    Raises:
        UsageError: Another kind of URI.
        DataNotFound: No such bucket or key.
        AccessDenied: It may not be read.
        StoreError: Storage kept failing, or the disk is full.
    """
    if not _is_s3(uri):
        return Path(uri)
    root, _, key = uri.rpartition("/")
    if key in {"", ".", ".."} or "\0" in key or root == "s3:/":
        raise UsageError(
            f"Data: expected a file, as in s3://bucket/key. Received: {uri!r}.",
            hint="Name one object; a prefix works for the data set to train on only.",
        )
    path = _place(uri, scratch) / "object"
    open_store(root).download(key, path)
    return path


def folder(uri: str, scratch: Path, wanted: re.Pattern[str]) -> Path:
    """The files of a folder, or those under an S3 prefix whose whole name matches.

    Args:
        uri: A path or s3://bucket/prefix.
        scratch: The folder to download to.
        wanted: What to download from S3.

    Raises:
        As `file`; DataNotFound also when no name matches.
    """
    if not _is_s3(uri):
        return Path(uri)
    store = open_store(uri.rstrip("/"))
    found = [entry for entry in store.list("") if wanted.fullmatch(entry.key)]
    if not found:
        raise DataNotFound(
            f"{uri}: expected objects named like {wanted.pattern} under that prefix. "
            "Received: none.",
            hint="Check bucket and prefix, and that the files were uploaded.",
        )
    place = _place(uri, scratch)
    _download(store, found, place, uri)
    return place


def _is_s3(uri: str) -> bool:
    scheme, separator, _ = uri.partition("://")
    if separator and scheme != "s3":
        raise UsageError(
            f"Data: expected a path, or a URI that starts with s3://. Received: {scheme}://….",
            hint="Download the data first, or copy it to S3.",
        )
    return bool(separator)


def _place(uri: str, scratch: Path) -> Path:
    place = scratch / "data" / hashlib.sha256(uri.encode(errors="surrogateescape")).hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    return place


def _download(store: Store, entries: Iterable[Entry], place: Path, uri: str) -> None:
    def fetch(entry: Entry) -> None:
        path = place / entry.key
        store.download(entry.key, path)
        if path.stat().st_size != entry.size:
            raise StoreError(
                f"{uri}: expected {entry.size} bytes for {entry.key}. "
                f"Received: {path.stat().st_size}.",
                hint="Try again; the object may have been replaced meanwhile.",
            )

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        list(pool.map(fetch, entries))

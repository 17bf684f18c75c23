"""identity(uri): what tells one data set from another, without reading it from afar."""

import hashlib
from pathlib import Path

from job.data import files
from job.errors import DataNotFound
from job.storage import open_store

Identity = list[tuple[str, int, str]]
"""(path inside the data set, bytes, ETag or SHA-256) of each of its files; "" for a single file."""


def identity(uri: str) -> Identity | str:
    """Sizes and ETags of objects in S3, sizes and hashes of local files.

    Args:
        uri: As for `data.load`.

    Returns:
        The same for the same contents, wherever they lie; the URI itself when it names no files.

    Raises:
        DataNotFound: There is nothing there.
        UsageError, DataError, AccessDenied, StoreError: As `data.load`.
    """
    scheme, separator, _ = uri.partition("://")
    if uri == "mnist" or (separator and scheme != "s3"):
        return uri
    return _remote(uri) if separator else _local(Path(uri), uri)


def _remote(uri: str) -> Identity | str:
    root, _, key = uri.rpartition("/")
    if "." in key.strip(".") and root != "s3:/" and "\0" not in key:  # a file, by its looks
        try:
            entry = open_store(root).entry(key)
        except DataNotFound:
            pass
        else:
            return [("", entry.size, entry.etag)]
    found = open_store(uri.rstrip("/")).list("")
    return sorted((entry.key, entry.size, entry.etag) for entry in found) or uri


def _local(path: Path, uri: str) -> Identity:
    if not files.is_folder(path, uri):
        return [("", *_hashed(path, uri))]
    with files.reading(uri):
        inside = sorted(each for each in path.rglob("*") if each.is_file())
    return [(each.relative_to(path).as_posix(), *_hashed(each, str(each))) for each in inside]


def _hashed(path: Path, name: str) -> tuple[int, str]:
    with files.opened(path, name) as stream:
        return files.size(stream), hashlib.file_digest(stream, "sha256").hexdigest()

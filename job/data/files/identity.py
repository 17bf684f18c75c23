"""identity(uri): what tells one data set from another, without reading it from afar."""

import glob
import hashlib
from pathlib import Path
from typing import Any

from job.data.files import opening, staging
from job.data.files.listing import WILD
from job.errors import DataNotFound
from job.storage import open_store

Identity = str | list[Any]
"""JSON values: (path inside the data set, bytes, ETag or SHA-256) of each of its files, with "" for
the path of a single file."""


def identity(uri: str) -> Identity:
    """Sizes and ETags of objects in S3, sizes and hashes of local files.

    Args:
        uri: As for `data.load`.

    Returns:
        The same for the same contents, wherever they lie; the URI itself when it names no files.

    Raises:
        DataNotFound: There is nothing there.
        UsageError, DataError, AccessDenied, StoreError: As `data.load`.
    """
    if uri == "mnist":
        return uri
    if "," in uri and (staging.is_s3(uri) or not Path(uri).exists()):
        return [identity(part.strip()) for part in uri.split(",") if part.strip()]
    return _remote(uri) if staging.is_s3(uri) else _local(uri)


def _remote(uri: str) -> Identity:
    root, _, key = uri.rpartition("/")
    wild = WILD.search(uri)
    seems_a_file = "." in key.strip(".") and "\0" not in key and not wild
    if seems_a_file and root != "s3:/":
        try:
            entry = open_store(root).entry(key)
        except DataNotFound:
            pass
        else:
            return [("", entry.size, entry.etag)]
    # What a pattern leaves out counts too: better to train once too often.
    folder = uri[: wild.start()].rpartition("/")[0] if wild else uri.rstrip("/")
    found = open_store(folder).list("")
    return sorted((entry.key, entry.size, entry.etag) for entry in found) or uri


def _local(uri: str) -> Identity:
    path = Path(uri)
    if WILD.search(uri) and not path.exists():
        matches = map(Path, sorted(glob.glob(uri)))  # noqa: PTH207 - the whole path is a pattern
        return [(each.name, *_hashed(each, str(each))) for each in matches if each.is_file()]
    if not opening.is_folder(path, uri):
        return [("", *_hashed(path, uri))]
    with opening.reading(uri):
        inside = sorted(each for each in path.rglob("*") if each.is_file())
    return [(each.relative_to(path).as_posix(), *_hashed(each, str(each))) for each in inside]


def _hashed(path: Path, name: str) -> tuple[int, str]:
    with opening.opened(path, name) as stream:
        return opening.size(stream), hashlib.file_digest(stream, "sha256").hexdigest()

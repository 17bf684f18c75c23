"""Where objects are kept: a Store in a folder or in a bucket; foreign errors stop here."""

import re

from job.errors import UsageError
from job.storage.store import Conflict, Entry, Store

__all__ = ["Conflict", "Entry", "Store", "open_store"]

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(uri: str) -> Store:
    """The store at a URI; nothing is read or written yet.

    Args:
        uri: `s3://bucket/prefix`, or the path of a folder.

    Raises:
        UsageError: The URI names neither.
        AccessDenied: The AWS settings cannot be used.
    """
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        parts = prefix.strip("/").split("/") if prefix.strip("/") else []
        if BUCKET.fullmatch(bucket) and not {"", ".", ".."} & set(parts):
            from job.storage.s3 import S3Store

            return S3Store(bucket, "/".join(parts))
    elif uri and "\0" not in uri and not SCHEME.match(uri):
        from job.storage.local import LocalStore

        return LocalStore(uri)
    raise UsageError(
        f"Expected s3://bucket/prefix or a folder. Received: {uri!r}.",
        hint="Other stores that speak S3 are reached through AWS_ENDPOINT_URL_S3.",
    )

"""Where objects are kept: a Store in a folder or in a bucket; foreign errors stop here."""

import re
from collections.abc import Callable

from job.errors import UsageError
from job.storage.access import Access
from job.storage.store import Conflict, Entry, Rejected, Store, replaced
from job.storage.uri import bucket_of, plain

__all__ = [
    "Access", "Conflict", "Entry", "Open", "Rejected", "Store", "open_store", "replaced", "use",
]  # fmt: skip

Open = Callable[[str], Store]
"""Opens the store at a URI."""

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_access = Access()


def use(access: Access) -> None:
    """Sets what stores that are opened from now on carry in their requests, in this process."""
    global _access
    _access = access


def open_store(uri: str, *, like: Store | None = None) -> Store:
    """The store at a URI; nothing is read or written yet.

    Args:
        uri: `s3://bucket/prefix`, with an access point's ARN in the bucket's place if need be, or
            the path of a folder.
        like: A store whose client is used again when both are in S3.

    Raises:
        UsageError: The URI names neither.
        AccessDenied: The AWS settings cannot be used.
    """
    uri = plain(uri)
    if uri.startswith("s3://"):
        bucket, prefix = bucket_of(uri)
        parts = prefix.strip("/").split("/") if prefix.strip("/") else []
        if bucket and not {"", ".", ".."} & set(parts):
            from job.storage.s3 import S3Store

            shared = like if isinstance(like, S3Store) else None
            return S3Store(bucket, "/".join(parts), _access, shared)
    elif uri and "\0" not in uri and not SCHEME.match(uri):
        from job.storage.local import LocalStore

        return LocalStore(uri)
    raise UsageError(
        f"Expected s3://bucket/prefix or a folder. Received: {uri!r}.",
        hint="Other stores that speak S3 are reached through AWS_ENDPOINT_URL_S3.",
    )

"""Where objects are kept: a Store in a folder or in a bucket; foreign errors stop here."""

import re

from job.errors import UsageError
from job.storage.access import Access
from job.storage.store import Conflict, Entry, Rejected, Store

__all__ = ["Access", "Conflict", "Entry", "Rejected", "Store", "open_store", "use"]

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
ACCESS_POINT = re.compile(
    r"(arn:aws[a-z-]*:s3(?:-outposts)?:[a-z0-9-]*:\d{12}:(?:outpost[/:][\w-]+[/:])?"
    r"accesspoint[/:][\w.-]+)(?:/(.*))?"
)

_access = Access()


def use(access: Access) -> None:
    """Sets what stores that are opened from now on carry in their requests, in this process."""
    global _access
    _access = access


def open_store(uri: str) -> Store:
    """The store at a URI; nothing is read or written yet.

    Args:
        uri: `s3://bucket/prefix`, with an access point's ARN in the bucket's place if need be, or
            the path of a folder.

    Raises:
        UsageError: The URI names neither.
        AccessDenied: The AWS settings cannot be used.
    """
    if uri.startswith("s3://"):
        bucket, prefix = bucket_of(uri)
        parts = prefix.strip("/").split("/") if prefix.strip("/") else []
        if bucket and not {"", ".", ".."} & set(parts):
            from job.storage.s3 import S3Store

            return S3Store(bucket, "/".join(parts), _access)
    elif uri and "\0" not in uri and not SCHEME.match(uri):
        from job.storage.local import LocalStore

        return LocalStore(uri)
    raise UsageError(
        f"Expected s3://bucket/prefix or a folder. Received: {uri!r}.",
        hint="Other stores that speak S3 are reached through AWS_ENDPOINT_URL_S3.",
    )


def bucket_of(uri: str) -> tuple[str, str]:
    """Bucket or access point, and the rest, of an s3:// URI; "" for a bucket that can be none."""
    rest = uri.removeprefix("s3://")
    if found := ACCESS_POINT.fullmatch(rest):
        return found[1], found[2] or ""
    bucket, _, prefix = rest.partition("/")
    return (bucket if BUCKET.fullmatch(bucket) else ""), prefix

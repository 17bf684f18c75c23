"""The start-up check: can the store be written, read and emptied, and does it keep its word?"""

import contextlib
import uuid
from typing import Any

from job.errors import AccessDenied, DataError, DataNotFound, JobError
from job.storage.store import Conflict, Store

NO_BUCKET = "Create the bucket, or correct --store."
UNFIT = (
    "Two jobs could overwrite each other: publish to a store with conditional writes. "
    "job/storage/README.md lists servers."
)


def probe(store: Store, folder: str, *, large: bool = False) -> None:
    """Writes, reads and removes `{folder}/{uuid}`; nothing is left.

    Publishing stands on conditional writes, and some servers ignore their headers: for each
    of the two, a write is tried that must be rejected. The store learns meanwhile how this
    server wants them.

    Args:
        store: The store.
        folder: Where in it.
        large: Whether large conditional writes will follow.

    Raises:
        AccessDenied: No such bucket, no permission, a file in a folder's place, or a store that
            ignores a condition.
        StoreError: The store does not answer, or is full.
    """
    key = f"{folder}/{uuid.uuid4().hex}"
    try:
        any(store.folders(folder))  # some servers make a bucket that a write names
    except DataNotFound as exc:
        raise AccessDenied(exc.message, hint=NO_BUCKET) from exc
    try:
        _try_writes(store, key)
        if large:
            store.learn(key)
    except BaseException:  # a signal's, too
        with contextlib.suppress(JobError):  # the first error is the one to report
            store.delete(key)
        raise
    store.delete(key)


def _try_writes(store: Store, key: str) -> None:
    try:
        first = store.write(key, b"first", if_none_match=True)
    except DataNotFound as exc:
        raise AccessDenied(exc.message, hint=NO_BUCKET) from exc
    except DataError as exc:
        raise AccessDenied(exc.message, hint="Move it away, or correct --store.") from exc
    _expect_rejection(store, key, "If-None-Match: *", if_none_match=True)
    try:
        second = store.write(key, b"second", if_match=first)
    except Conflict as exc:
        raise AccessDenied(
            f"Expected {store.uri} to accept a write whose condition (If-Match) holds. "
            "Received: the write was rejected.",
            hint=UNFIT,
        ) from exc
    _expect_rejection(store, key, "If-Match", if_match=first)
    if store.read(key) != (b"second", second):
        raise AccessDenied(
            f"Expected {store.uri} to give back what was written last. Received: older bytes.",
            hint="Publish to a store with strong read-after-write consistency.",
        )


def _expect_rejection(store: Store, key: str, header: str, **condition: Any) -> None:
    try:
        store.write(key, b"must be rejected", **condition)
    except Conflict:
        return
    raise AccessDenied(
        f"Expected {store.uri} to reject a write whose condition ({header}) does not hold. "
        "Received: the write was accepted.",
        hint=UNFIT,
    )

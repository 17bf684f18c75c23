"""The start-up check: can the store be written, read and emptied, and does it keep its word?"""

import contextlib
import uuid
from typing import Any

from job.errors import AccessDenied, DataError, DataNotFound, JobError
from job.storage.store import Conflict, Store


def probe(store: Store, folder: str) -> None:
    """Writes, reads and removes `{folder}/{uuid}`; nothing is left.

    Publishing stands on conditional writes, and some servers ignore their headers: for each
    of the two, a write is tried that must be refused.

    Raises:
        AccessDenied: No such bucket, no permission, a file in a folder's place, or a store that
            ignores a condition.
        StoreError: The store does not answer, or is full.
    """
    key = f"{folder}/{uuid.uuid4().hex}"
    try:
        _try_writes(store, key)
    except BaseException:  # a signal's, too
        with contextlib.suppress(JobError):  # the first error is the one to tell
            store.delete(key)
        raise
    store.delete(key)


def _try_writes(store: Store, key: str) -> None:
    try:
        first = store.write(key, b"first", if_none_match=True)
    except DataNotFound as exc:
        raise AccessDenied(exc.message, hint="Create the bucket, or correct --store.") from exc
    except DataError as exc:
        raise AccessDenied(exc.message, hint="Move it away, or correct --store.") from exc
    _expect_refusal(store, key, "If-None-Match: *", if_none_match=True)
    second = store.write(key, b"second", if_match=first)
    _expect_refusal(store, key, "If-Match", if_match=first)
    if store.read(key) != (b"second", second):
        raise AccessDenied(
            f"Expected {store.uri} to give back what was written last. Received: older bytes.",
            hint="Publish to a store with strong read-after-write consistency.",
        )


def _expect_refusal(store: Store, key: str, header: str, **condition: Any) -> None:
    try:
        store.write(key, b"must be refused", **condition)
    except Conflict:
        return
    raise AccessDenied(
        f"Expected {store.uri} to refuse a write whose condition ({header}) does not hold. "
        "Received: the write was accepted.",
        hint="Two jobs could overwrite each other: publish to a store with conditional writes.",
    )

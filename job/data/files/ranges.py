"""Objects in S3, read in flight by ranges: what a stream reads is never a file on this disk."""

import io
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from job.process import log
from job.storage import Entry, Store

BUDGET_BYTES = 32 << 20
"""Memory for the ranges of one object, at most."""

MOST_BYTES, LEAST_BYTES = 4 << 20, 1 << 16
"""Of a range."""

AHEAD = 3
"""Ranges that are requested before they are asked for, at most."""

PROGRESS_SECONDS = 5.0
"""Between two log events about a long object."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """An object in S3 in the place of a path.

    Attributes:
        name: How messages call it.
        store: The prefix that it lies under.
        entry: Its key there, size and ETag.
    """

    name: str
    store: Store
    entry: Entry


class Ranges(io.RawIOBase):
    """An object as a seekable stream in flat memory; ranges behind the last one come ahead.

    A request that fails is repeated for its range alone.

    Args:
        remote: The object.

    Raises:
        StoreError: The store kept failing, or the object was replaced since it was listed.
        AccessDenied, DataNotFound: As `Store.read_range`.
    """

    def __init__(self, remote: Remote):
        self.size = remote.entry.size
        self._remote = remote
        self._position = self._fetched = 0
        self._told = time.monotonic()
        self._pool = ThreadPoolExecutor(1 + AHEAD, "ranges")
        self.spread(1)

    def spread(self, places: int) -> None:
        """Prepares for a reader that goes on at several places in turns, as columns do."""
        self._bytes = max(LEAST_BYTES, min(MOST_BYTES, BUDGET_BYTES // (2 * places)))
        self._kept = BUDGET_BYTES // self._bytes
        self._ahead = min(AHEAD, max(1, self._kept // places - 1))
        self._ranges: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._seen: set[int] = set()

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise OSError(f"Expected a place in the file. Received: {start + offset}.")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        if self._position >= self.size or not len(buffer):
            return 0
        number, begin = divmod(self._position, self._bytes)
        some = memoryview(self._range(number))[begin : begin + len(buffer)]
        buffer[: len(some)] = some
        self._position += len(some)
        return len(some)

    def close(self) -> None:  # noqa: D102
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._ranges.clear()
        super().close()

    def _range(self, number: int) -> bytes:
        goes_on = number - 1 in self._seen
        for each in range(number, number + 1 + self._ahead * goes_on):
            wanted = each not in self._seen if each > number else each not in self._ranges
            if wanted and each * self._bytes < self.size:
                self._seen.add(each)
                self._ranges[each] = self._pool.submit(self._fetch, each * self._bytes)
        self._ranges.move_to_end(number)
        while len(self._ranges) > self._kept:
            self._ranges.popitem(last=False)
        found = self._ranges[number].result()
        self._tell()
        return found

    def _fetch(self, start: int) -> bytes:
        remote = self._remote
        stop = min(start + self._bytes, self.size)
        found = remote.store.read_range(remote.entry, start, stop)
        self._fetched += len(found)
        return found

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told > PROGRESS_SECONDS:
            self._told = now
            log.event(
                "data.fetched",
                f"Read {self._fetched / 2**20:,.0f} of {self.size / 2**20:,.0f} MiB of "
                f"{self._remote.name}.",
                objects=1,
                bytes=self._fetched,
                cached=0,
            )

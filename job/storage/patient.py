"""Patient: a store whose operations are retried for a while, within one time budget."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from job.errors import AccessDenied, DiskFull, StoreError
from job.process import activity
from job.storage import open_store
from job.storage.store import Entry, Rejected, Store

Result = TypeVar("Result")

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds between two tries, at most; the last one holds for all that follow. Inside each try, the
requests to S3 have tries of their own."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A failure after which an operation is tried again.

    Attributes:
        error: What failed.
        pause: Seconds until the next try.
    """

    error: StoreError
    pause: float


class Patient:
    """A store whose operations are repeated until they work, or until the time is over.

    Once an operation has failed for the whole time, the following ones are tried once, until one
    of them works. `admit` says that the store has let the run in.

    Args:
        store: The store.
        seconds: The time for all tries of an operation; what fails after it is not tried again.
        report: Gets each failure that is retried; of failures at the same time only one.
    """

    def __init__(
        self, store: Store, seconds: float, report: Callable[[Retry], None] = lambda _: None
    ):
        self.uri = store.uri
        self._store, self._seconds, self._report = store, seconds, report
        self._lock = threading.Lock()
        self._users = 0
        self._time = contextlib.ExitStack()
        self._quiet_until = 0.0
        self._admitted = False
        self._hurried = False
        self._given_up = False

    def at(self, uri: str) -> "Patient":
        """The store at another URI, with the same time; in S3 over the same client."""
        return Patient(open_store(uri, like=self._store), self._seconds, self._report)

    def admit(self) -> None:
        """From now on AccessDenied is a StoreError, and retried: another pod may be let in."""
        self._admitted = True

    def retry(self, use: Callable[[], Result]) -> Result:
        """Calls what is safe to repeat until it works.

        Raises:
            StoreError: The last try's.
            DiskFull: At once.
        """
        began = time.monotonic()
        seconds = 0.0 if self._given_up else self._seconds
        tries = 0
        while True:
            activity.begin()
            try:
                result = use()
            except DiskFull:
                raise
            except StoreError as error:
                left = began + seconds - time.monotonic()
                if left <= 0 or self._hurried:
                    self._given_up = not self._hurried
                    raise
                pause = min(left, PAUSES[min(tries, len(PAUSES) - 1)])
                self._reported(error, pause)
                time.sleep(pause)
                tries += 1
            else:
                self._given_up = False
                return result

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """As `Store.within`: in the block nothing is tried again once the store itself gives up."""
        self._hurried = True
        try:
            with self._store.within(seconds):
                yield
        finally:
            self._hurried = False

    def read(self, key: str) -> tuple[bytes, str]:
        return self._patiently(lambda: self._store.read(key))

    def write(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        return self._patiently(
            lambda: self._store.write(key, data, if_match=if_match, if_none_match=if_none_match)
        )

    def upload(self, path: Path, key: str) -> None:
        self._patiently(lambda: self._store.upload(path, key))

    def download(self, key: str, path: Path) -> None:
        self._patiently(lambda: self._store.download(key, path))

    def read_range(self, entry: Entry, start: int, stop: int) -> bytes:
        return self._patiently(lambda: self._store.read_range(entry, start, stop))

    def entry(self, key: str) -> Entry:
        return self._patiently(lambda: self._store.entry(key))

    def list(self, folder: str) -> Iterator[Entry]:
        yield from self._patiently(lambda: [*self._store.list(folder)])

    def folders(self, folder: str) -> Iterator[str]:
        yield from self._patiently(lambda: [*self._store.folders(folder)])

    def delete(self, key: str) -> bool:
        return self._patiently(lambda: self._store.delete(key))

    def expect_deletable(self, folder: str) -> None:
        self._patiently(lambda: self._store.expect_deletable(folder))

    def learn(self, key: str) -> None:
        self._patiently(lambda: self._store.learn(key))

    def _patiently(self, use: Callable[[], Result]) -> Result:
        with self._bounded():
            return self.retry(lambda: self._let_in(use))

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        """Bounds the store's own tries while operations run, of any number of threads."""
        with self._lock:
            self._users += 1
            if self._users == 1 and not self._hurried:
                seconds = 0.0 if self._given_up else self._seconds
                self._time.enter_context(self._store.within(seconds))
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._time.close()

    def _let_in(self, use: Callable[[], Result]) -> Result:
        try:
            return use()
        except AccessDenied as exc:
            if not self._admitted or isinstance(exc, Rejected):
                raise
            raise StoreError(
                exc.message, hint=f"It was allowed when the run began. {exc.hint}"
            ) from exc

    def _reported(self, error: StoreError, pause: float) -> None:
        """Reports one failure of several threads."""
        now = time.monotonic()
        with self._lock:
            silent, self._quiet_until = now < self._quiet_until, now + pause
        if not silent:
            self._report(Retry(error=error, pause=pause))

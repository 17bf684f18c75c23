"""SIGTERM and Ctrl-C: an end at once where nothing is lost, at the next safe point elsewhere.

Python as PID 1 ignores SIGTERM until a handler is installed, so `install` runs first of all.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import NoReturn

from job.errors import DataError, Interrupted, JobError, Preempted, StoreError


class Stop(BaseException):
    """Raised by a signal; no `except Exception` catches it."""

    def __init__(self, end: type[JobError], signal_name: str) -> None:
        super().__init__(f"Stopped by {signal_name}.")
        self._end = end

    @property
    def error(self) -> JobError:
        """The end that it means, with what is known of the run by now."""
        return self._end(str(self), hint=_advice(), details=_notes)


GRACE = 8
"""Seconds for which a signal is held back, at most: a pod may be given no more than ten."""

LIMIT = 9
"""Seconds after SIGTERM at which a process ends that has not come to its own end."""

LAST_WORDS = 0.25
"""Seconds that its last words may take: the file may lie on a disk that stalls, too."""

_pending: Stop | None = None
_heard = False
_deferred = False
_notes: dict[str, object] = {}
_last_words: Callable[[JobError], None] | None = None


def install(last_words: Callable[[JobError], None]) -> None:
    """Takes over SIGTERM and SIGINT for this process.

    Python's handlers run between two steps of the main thread. One long call into C, and one that
    writes where nobody reads, hear nothing; so a thread keeps SIGTERM's time limit as well.

    Args:
        last_words: Tells of an end that this thread had to make; is called in a thread.
    """
    global _last_words
    _last_words = last_words
    # C tells the descriptor of a signal at once, whatever the main thread does.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    signal.signal(signal.SIGTERM, _handle)
    signal.signal(signal.SIGINT, _handle)
    signal.signal(signal.SIGALRM, _overdue)


def end(error: JobError) -> NoReturn:
    """Ends the process from a thread, where the main one hangs."""
    try:
        if _last_words:
            words = threading.Thread(target=_last_words, args=(error,), daemon=True)
            words.start()
            words.join(LAST_WORDS)
    finally:
        os._exit(error.exit_code)


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Lets signals end the block; before it they wait, and after it nothing is left to end.

    Raises:
        Stop: A signal has come.
    """
    global _heard
    _heard = True
    try:
        if _pending is not None:
            raise _pending
        yield
    finally:
        _heard = False


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Holds a signal back until the block ends, well or not; the block may ask `requested`.

    After GRACE seconds, or at a second Ctrl-C, it waits no longer.

    Raises:
        Stop: A signal has come.
    """
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
        signal.alarm(0)
        if _pending is not None:
            raise _pending


def note(**details: object) -> None:
    """Adds to what any end tells in its details (JSON values)."""
    _notes.update(details)


def noted() -> Mapping[str, object]:
    """What the end of this process has to tell: run_id, and the last checkpoint."""
    return _notes


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Adds how to resume to the hint of a DataError or StoreError, once there is a checkpoint."""
    try:
        yield
    except (DataError, StoreError) as error:
        if _notes.get("checkpoint"):
            error.hint = (
                f"{error.hint} The same command with --run-id {_notes['run_id']} resumes from the "
                "checkpoint in the details: what is trained is published, not trained again."
            )
        raise


def requested() -> bool:
    """True when a signal is being held back."""
    return _pending is not None


def reason() -> JobError | None:
    """The end that a signal asked for; None when none has come.

    A library that was interrupted may turn Stop into an error of its own, or forget it.
    """
    return _pending.error if _pending else None


def _handle(number: int, _: FrameType | None) -> None:
    global _pending
    interrupted = number == signal.SIGINT
    if _pending is None:
        _pending = Stop(Interrupted, "Ctrl-C") if interrupted else Stop(Preempted, "SIGTERM")
        if _deferred:
            signal.alarm(GRACE)
        elif _heard:
            raise _pending
    elif interrupted and _heard:
        raise _pending
    elif interrupted:
        os._exit(_pending.error.exit_code)


def _watch(reader: int) -> None:
    while signal.SIGTERM not in os.read(reader, 64):
        pass
    time.sleep(LIMIT)
    end(Stop(Preempted, "SIGTERM").error)


def _advice() -> str:
    if not _notes.get("checkpoint"):
        return "Run the same command again."
    return f"The same command with --run-id {_notes['run_id']} goes on from the last checkpoint."


def _overdue(_number: int, _: FrameType | None) -> None:
    if _pending is not None:
        raise _pending

"""SIGTERM and Ctrl-C: an end at once where nothing is lost, at the next safe point elsewhere.

Python as PID 1 ignores SIGTERM until a handler is installed, so `install` runs first of all.
"""

import contextlib
import signal
from collections.abc import Iterator, Mapping
from types import FrameType

from job.errors import Interrupted, JobError, Preempted


class Stop(BaseException):
    """Raised by a signal; no `except Exception` catches it."""

    def __init__(self, end: type[JobError], signal_name: str) -> None:
        super().__init__(f"Stopped by {signal_name}.")
        self._end = end

    @property
    def error(self) -> JobError:
        """The end that it means, with what is known of the run by now."""
        return self._end(str(self), hint=_advice())


GRACE = 8
"""Seconds for which a signal is held back, at most: a pod may be given no more than ten."""

_pending: Stop | None = None
_deferred = False
_notes: dict[str, object] = {}


def install() -> None:
    """Takes over SIGTERM and SIGINT for this process."""
    signal.signal(signal.SIGTERM, _handle)
    signal.signal(signal.SIGINT, _handle)
    signal.signal(signal.SIGALRM, _overdue)


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
    again = _pending is not None and number == signal.SIGINT
    if _pending is None:
        interrupted = number == signal.SIGINT
        _pending = Stop(Interrupted, "Ctrl-C") if interrupted else Stop(Preempted, "SIGTERM")
    if again or not _deferred:
        raise _pending
    signal.alarm(GRACE)


def _advice() -> str:
    if not _notes.get("checkpoint"):
        return "Run the same command again."
    return f"The same command with --run-id {_notes['run_id']} goes on from the last checkpoint."


def _overdue(_number: int, _: FrameType | None) -> None:
    if _pending is not None:
        raise _pending

"""Standard streams that are closed, full or gone: they do not end the job."""

import contextlib
import os
import sys
from typing import Any, TextIO

STDIN, STDOUT, STDERR = 0, 1, 2


def reopen() -> None:
    """Fills standard streams that were closed with /dev/null, as daemons do.

    Otherwise the next file that is opened would become one, and get what libraries write there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(STDIN)
    sys.stdout = sys.stdout or os.fdopen(STDOUT, "w")
    sys.stderr = sys.stderr or os.fdopen(STDERR, "w")


class Lossy:
    """A text stream for a log: what it cannot take is lost, and nobody is told.

    Args:
        stream: It may be a pipe whose reader has left, or a file on a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes the text, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hands on what was written, if that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

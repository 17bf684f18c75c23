"""A small disk of one's own, which fills up or goes read-only: a tmpfs in a mount namespace.

Nothing is mounted on this machine: a process that sleeps holds the namespace, and commands that
are to see the disk enter it.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MEGABYTES = 24
SECONDS = 20
"""Until a remount must have worked; files that are open for writing hold it up."""

ROOT = os.getuid() == 0
UNSHARE = ("unshare", "--mount", *(() if ROOT else ("--user", "--map-root-user")))


class Disk:
    """The disk.

    Attributes:
        path: Where it is, for those who have entered.
        enter: What goes in front of a command to enter.
        seen: Where it is, for everybody else.
    """

    def __init__(self, path: Path, holder: int):
        self.path = path
        user = () if ROOT else ("--user", "--preserve-credentials")
        self.enter = ("nsenter", f"--target={holder}", "--mount", *user, "--")
        self.seen = Path(f"/proc/{holder}/root{path}")

    def fill(self) -> None:
        """Leaves not a byte."""
        with contextlib.suppress(OSError), (self.seen / "filler").open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def make_room(self) -> None:
        (self.seen / "filler").unlink()

    def make_read_only(self) -> None:
        self._remount("ro")

    def make_writable(self) -> None:
        self._remount("rw")

    def _remount(self, how: str) -> None:
        command = [*self.enter, "mount", "-o", f"remount,{how}", str(self.path)]
        deadline = time.monotonic() + SECONDS
        while subprocess.run(command, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, command


@contextlib.contextmanager
def disk(path: Path) -> Iterator[Disk]:
    """A disk on an empty folder, for the time of a `with` block; skips where none can be had."""
    mount = (
        f"mount -t tmpfs -o size={MEGABYTES}m tmpfs {path} && echo mounted && exec sleep infinity"
    )
    holder = subprocess.Popen(
        [*UNSHARE, "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"no mount namespace can be had here: {holder.stderr.read()}")
        yield Disk(path, holder.pid)
    finally:
        holder.kill()
        holder.communicate()

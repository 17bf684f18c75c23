"""The limit of memory: the machine's, or a control group's, in a mount namespace of their own."""

import os
import subprocess
import sys
from pathlib import Path

import disks
import pytest

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
LIMIT = "from job.data import memory; print(memory.limit())"
WITHOUT = ("prlimit", "--data=unlimited", "--as=unlimited")


@pytest.fixture
def groups():
    """Where the control groups are mounted, empty."""
    with disks.disk(Path("/sys/fs/cgroup")) as disk:
        yield disk


def limit(groups):
    command = [*groups.enter, *WITHOUT, sys.executable, "-c", LIMIT]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_machine_without_limits_gives_all_it_has(groups):
    assert limit(groups) == PHYSICAL


@pytest.mark.parametrize("file", ["memory.max", "{own}/memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(("text", "found"), [("4096\n", 4096), ("max\n", PHYSICAL)])
def test_a_group_s_limit_counts_that_of_the_root_is_a_container_s_own(groups, file, text, found):
    *_, own = Path("/proc/self/cgroup").read_text().splitlines()[-1].split(":", 2)
    limits = groups.seen / file.format(own=own.strip("/")).lstrip("/")
    limits.parent.mkdir(parents=True, exist_ok=True)
    limits.write_text(text)
    assert limit(groups) == found

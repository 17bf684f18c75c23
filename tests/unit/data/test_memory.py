"""The limit of memory: the machine's, a control group's, the shell's."""

import os
import resource

import pytest

from job.data import memory

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def limit(tmp_path, monkeypatch, groups="", **files):
    for path, text in files.items():
        (tmp_path / path).mkdir(exist_ok=True)
        (tmp_path / path / "memory.max").write_text(text)
    (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    return memory.limit()


def test_a_machine_without_limits_gives_all_it_has(tmp_path, monkeypatch):
    assert limit(tmp_path, monkeypatch) == PHYSICAL


@pytest.mark.parametrize(("text", "found"), [("4096\n", 4096), ("max\n", PHYSICAL)])
def test_the_own_group_s_limit_counts(tmp_path, monkeypatch, text, found):
    assert limit(tmp_path, monkeypatch, "0::/own-group\n", **{"own-group": text}) == found

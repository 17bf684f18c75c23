"""What goes and what stays, and that it goes safely; on a folder and on a real S3 server."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from drafts import PROMOTE, REJECT, draft
from registries import Registry

from job.errors import DataError, DataNotFound, StoreError
from job.registry import prune
from job.storage import open_store

SUPPORT = Path(__file__).parents[2] / "support"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def registry(store_uri: str) -> Registry:
    return Registry(open_store(store_uri), "mnist")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("model.keras", "metrics.json"):
        (folder / name).write_text(name)
    return folder


def publish(registry: Registry, files: Path, count: int) -> None:
    """Versions 1 to `count`; every third is not promoted, and the fifth is the best."""
    for i in range(1, count + 1):
        made = draft(f"run-{i}", verdict=REJECT if i % 3 == 0 else PROMOTE)
        if i == 5:
            made = dataclasses.replace(
                made, metrics=dataclasses.replace(made.metrics, accuracy=0.99)
            )
        registry.publish(files, made)


def keys(registry: Registry) -> set[str]:
    return {entry.key for entry in registry.store.list("")}


def test_a_plan_is_only_a_plan(registry: Registry, files: Path) -> None:
    publish(registry, files, 8)
    before = keys(registry)
    decided = prune.plan(registry, 2)
    assert decided.doomed == (1, 2, 3, 4, 6)
    assert {v: why.split()[0] for v, why in decided.kept.items()} == {
        8: "champion", 7: "where", 5: "the",
    }  # fmt: skip
    assert keys(registry) == before
    assert registry.champion().doomed == ()


def test_the_best_is_that_in_the_champions_metric(registry: Registry, files: Path) -> None:
    accurate = draft("run-1").metrics
    for run, metrics in (
        ("accurate", dataclasses.replace(accurate, balanced_accuracy=0.6)),
        ("balanced", dataclasses.replace(accurate, balanced_accuracy=0.9, accuracy=0.8)),
        ("before", dataclasses.replace(accurate, balanced_accuracy=0.7, accuracy=0.9)),
        ("champion", dataclasses.replace(accurate, balanced_accuracy=0.7, accuracy=0.9)),
    ):
        made = dataclasses.replace(draft(run), metrics=metrics, metric="balanced_accuracy")
        registry.publish(files, made)
    decided = prune.plan(registry, 1)
    assert decided.doomed == (1,)
    assert decided.kept[2] == "the best that reigned: the gate compares with it"


def test_what_is_doomed_goes_and_the_rest_is_whole(registry: Registry, files: Path) -> None:
    publish(registry, files, 8)
    registry.rollback()
    registry.claim("never-finished", "pod-1")
    prune.carry_out(registry, prune.plan(registry, 1))
    assert [each.version for each in registry.versions()] == [8, 7, 5]
    assert registry.champion().version == 7
    assert all(registry.verify(str(n)).damaged == () for n in (5, 7, 8))
    left = {key.split("/")[2] for key in keys(registry) if key.startswith("mnist/runs/")}
    assert left == {"run-5", "run-7", "run-8", "never-finished"}
    assert registry.rollback().after == 5


def test_what_was_given_up_never_reigns_again(registry: Registry, files: Path) -> None:
    publish(registry, files, 8)
    decided = prune.plan(registry, 1)
    registry.doom(decided.champion, decided.etag, decided.doomed)  # and killed there
    for ref in ("1", "4"):
        with pytest.raises(DataError, match=rf"version {ref}, which `mlp-job prune` has given up"):
            registry.promote(ref)
    assert registry.champion().version == 8
    prune.carry_out(registry, prune.plan(registry, 8))
    assert [each.version for each in registry.versions()] == [8, 7, 5]


def test_a_rollback_does_not_lead_to_what_is_gone(registry: Registry, files: Path) -> None:
    publish(registry, files, 8)
    prune.carry_out(registry, prune.plan(registry, 1))
    assert registry.rollback().after == 7
    assert registry.rollback().after == 5
    with pytest.raises((DataError, DataNotFound)):
        registry.rollback()
    assert registry.champion().version == 5


def test_a_late_run_whose_number_was_given_up(registry: Registry, files: Path) -> None:
    version = registry.claim("late", "pod-1")
    publish(registry, files, 4)
    prune.carry_out(registry, prune.plan(registry, 1))
    assert registry.champion().doomed == (version, 2, 4)
    records = registry.upload(files, version, "pod-1")
    with pytest.raises(StoreError, match="given it up"):
        registry.commit(version, draft("late"), records)
    assert registry.publish(files, draft("late")).manifest.version == 6
    assert [each.version for each in registry.versions()] == [6, 5, 3]


def test_a_run_takes_another_number_also_when_prune_was_killed(
    registry: Registry, files: Path
) -> None:
    version = registry.claim("late", "pod-1")
    publish(registry, files, 4)
    decided = prune.plan(registry, 1)
    registry.doom(decided.champion, decided.etag, decided.doomed)
    assert registry.publish(files, draft("late")).manifest.version == 6 != version
    assert registry.publish(files, draft("late", "pod-2")).manifest.version == 6
    prune.carry_out(registry, prune.plan(registry, 1))
    assert [each.version for each in registry.versions()] == [6, 5]
    assert registry.check("late").manifest.version == 6


def test_a_version_that_is_given_up_between_its_manifest_and_its_challenge(
    registry: Registry, files: Path
) -> None:
    version = registry.claim("late", "pod-1")
    publish(registry, files, 4)
    records = registry.upload(files, version, "pod-1")
    published = registry.commit(version, draft("late"), records)
    decided = prune.plan(registry, 1)
    registry.doom(decided.champion, decided.etag, decided.doomed)
    assert version in registry.champion().doomed
    assert not registry.challenge(published).verdict.promote
    with pytest.raises(DataError, match="given up"):
        registry.promote(str(version))


def test_a_champion_who_changes_in_between(registry: Registry, files: Path) -> None:
    publish(registry, files, 8)
    decided = prune.plan(registry, 1)
    registry.promote("2")
    before = keys(registry)
    with pytest.raises(StoreError, match="it was changed just now"):
        prune.carry_out(registry, decided)
    assert keys(registry) == before
    assert 2 not in prune.plan(registry, 1).doomed


def test_without_a_champion_nothing_goes(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1", verdict=REJECT))
    with pytest.raises(DataNotFound, match="none yet"):
        prune.plan(registry, 1)


DIE_AT = """
import os, sys
sys.path[:0] = sys.argv[3:]
from job.registry import Versions, prune
from job.storage import open_store

class Dying:
    def __init__(self, store, writes):
        self.store, self.writes = store, writes

    def __getattr__(self, name):
        if name not in ("write", "upload", "delete"):
            return getattr(self.store, name)

        def act(*words, **options):
            if not any("/.probe/" in str(word) for word in words):
                if self.writes == 0:
                    os._exit(9)
                self.writes -= 1
            return getattr(self.store, name)(*words, **options)

        return act

registry = Versions(Dying(open_store(sys.argv[1]), int(sys.argv[2])), "mnist")
prune.carry_out(registry, prune.plan(registry, 1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("writes", range(12))
def test_killed_at_any_moment(registry: Registry, store_uri: str, files: Path, writes: int) -> None:
    publish(registry, files, 4)
    words = [store_uri, str(writes), str(SUPPORT), str(ROOT)]
    killed = subprocess.run([sys.executable, "-c", DIE_AT, *words], timeout=60, check=False)
    assert killed.returncode == (0 if writes == 11 else 9)
    for each in registry.versions():
        if each.version not in registry.champion().doomed:
            assert registry.verify(str(each.version)).damaged == ()
    prune.carry_out(registry, prune.plan(registry, 1))
    assert [each.version for each in registry.versions()] == [4, 2]
    assert not [key for key in keys(registry) if "3" in key or "run-1" in key]


def test_the_command_shows_first(tmp_path: Path, files: Path) -> None:
    store = str(tmp_path / "store")
    publish(Registry(open_store(store), "mnist"), files, 8)

    def command(*words: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "job", "prune", *words, "--store", store],
            capture_output=True, text=True, timeout=60, check=True,
        ).stdout  # fmt: skip

    shown = command("--keep", "2")
    assert "would be removed" in shown
    assert "Nothing was removed" in shown
    assert json.loads(command("--keep", "2", "--json"))["doomed"] == [1, 2, 3, 4, 6]
    assert json.loads(command("--keep", "2", "--yes", "--json"))["removed"] is True
    assert json.loads(command("--keep", "2", "--json"))["doomed"] == []

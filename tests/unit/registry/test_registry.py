"""What readers may rely on, whatever happens to writers; on a folder and on a real S3 server."""

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import proxy as proxies
import pytest
import seaweed
from drafts import PROMOTE, REJECT, draft
from proxy import Fault
from registries import Registry

from job.errors import AccessDenied, DataError, DataNotFound, StoreError, UsageError
from job.registry import Published, names
from job.registry.manifest import Draft, Manifest
from job.registry.pointer import objection_to_repeat
from job.registry.verdict import Verdict
from job.storage import open_store
from job.storage.patient import Patient

SUPPORT = Path(__file__).parents[2] / "support"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "saved_model" / "variables").mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"a model " * 100)
    (folder / "metrics.json").write_text("{}")
    (folder / "saved_model" / "variables" / "variables.index").write_bytes(b"\0" * 50)
    return folder


@pytest.fixture
def registry(store_uri: str) -> Registry:
    return Registry(open_store(store_uri), "mnist")


def keys(registry: Registry) -> set[str]:
    return {entry.key for entry in registry.store.list("")}


def overwrite(registry: Registry, key: str, change: Callable[[bytes], bytes]) -> None:
    registry.store.write(key, change(registry.store.read(key)[0]))


def expect_whole(registry: Registry) -> Manifest | None:
    """What a reader does: pointer, manifest, files, hashes."""
    if registry.champion() is None:
        return None
    manifest = registry.resolve("champion")
    assert registry.verify("champion").damaged == ()
    return manifest


# Publishing


def test_a_first_version(registry: Registry, files: Path, tmp_path: Path) -> None:
    published = registry.publish(files, draft("run-1"))
    assert published.verdict == PROMOTE
    assert published.manifest.version == 1
    assert keys(registry) == {
        "mnist/champion.json",
        "mnist/runs/run-1/version",
        "mnist/versions/1/claim.json",
        "mnist/versions/1/manifest.json",
        "mnist/versions/1/pod-1/metrics.json",
        "mnist/versions/1/pod-1/model.keras",
        "mnist/versions/1/pod-1/saved_model/variables/variables.index",
    }
    for ref in ("1", "champion", "latest"):
        assert registry.resolve(ref) == published.manifest
    registry.fetch(published.manifest, ["pod-1/model.keras"], tmp_path / "out")
    fetched = tmp_path / "out" / "pod-1" / "model.keras"
    assert fetched.read_bytes() == (files / "model.keras").read_bytes()
    assert names(registry.store) == ["mnist"]


def test_the_manifest_says_what_was_known(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    data, _ = registry.store.read("mnist/versions/1/manifest.json")
    document = json.loads(data)
    assert document["schema_version"] == 1
    assert (document["name"], document["version"], document["run_id"]) == ("mnist", 1, "run-1")
    assert document["classes"] == [0, 1, "two"]
    assert document["files"]["pod-1/model.keras"] == {
        "size": 800,
        "sha256": hashlib.sha256(b"a model " * 100).hexdigest(),
    }
    assert document["verdict"]["promote"] is True
    assert document["verdict"]["reasons"] == ["It is good enough."]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["created"])
    assert data.endswith(b"}\n")
    assert list(document) == sorted(document)
    pointer = json.loads(registry.store.read("mnist/champion.json")[0])
    assert pointer["manifest_sha256"] == hashlib.sha256(data).hexdigest()
    assert [move["run_id"] for move in pointer["history"]] == ["run-1"]


def test_numbers_go_up(registry: Registry, files: Path) -> None:
    versions = [registry.publish(files, draft(f"run-{i}")).manifest.version for i in range(12)]
    assert versions == list(range(1, 13))
    assert registry.resolve("latest").version == 12
    assert [listed.version for listed in registry.versions()] == versions[::-1]
    assert [listed.version for listed in registry.versions() if listed.champion] == [12]


def test_a_rejected_version_is_published_and_not_promoted(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    published = registry.publish(files, draft("run-2", verdict=REJECT))
    assert published.verdict == REJECT
    assert registry.resolve("latest").version == 2
    assert registry.resolve("champion").version == 1


def test_models_do_not_meet(registry: Registry, files: Path) -> None:
    other = Registry(registry.store, "other")
    registry.publish(files, draft("run-1"))
    assert other.versions() == ()
    other.publish(files, draft("run-1"))
    assert other.resolve("champion").name == "other"
    assert sorted(names(registry.store)) == ["mnist", "other"]


# Retries and races


def test_a_retry_finds_what_its_run_has_published(registry: Registry, files: Path) -> None:
    first = registry.publish(files, draft("run-1"))
    before = keys(registry)
    assert registry.check("run-1") == first
    again = registry.publish(files, draft("run-1", "pod-2"))
    assert again.manifest == first.manifest
    assert {key for key in keys(registry) if "pod-2" not in key} == before
    assert len(registry.champion().history) == 1


DIE_AT = """
import os, sys, threading
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from drafts import draft
from registries import Registry
from job.storage import open_store

class Dying:
    def __init__(self, store, writes):
        self.store, self.writes, self.lock = store, writes, threading.Lock()

    def __getattr__(self, name):
        if name in ("write", "upload", "delete"):
            with self.lock:
                if self.writes == 0:
                    os._exit(9)
                self.writes -= 1
        return getattr(self.store, name)

registry = Registry(Dying(open_store(sys.argv[1]), int(sys.argv[2])), "mnist")
registry.publish(Path(sys.argv[3]), draft("run-2", "killed"))
"""
WRITES = ("claim", "run", "file 1", "file 2", "file 3", "manifest", "pointer")


@pytest.mark.slow
@pytest.mark.parametrize(
    "writes", range(len(WRITES) + 1), ids=[f"before {w}" for w in WRITES] + ["after"]
)
def test_killed_between_any_two_writes(
    registry: Registry, store_uri: str, files: Path, writes: int
) -> None:
    registry.publish(files, draft("run-1"))
    arguments = [store_uri, str(writes), str(files), str(SUPPORT), str(ROOT)]
    killed = subprocess.run([sys.executable, "-c", DIE_AT, *arguments], timeout=60, check=False)
    assert killed.returncode == (0 if writes == len(WRITES) else 9)

    seen = expect_whole(registry)
    assert seen.version == (2 if writes == len(WRITES) else 1)
    assert all(registry.verify(str(v.version)).damaged == () for v in registry.versions())

    found = registry.check("run-2")
    assert (found is not None) == (writes > WRITES.index("manifest"))
    ended = registry.challenge(found) if found else registry.publish(files, draft("run-2", "retry"))
    assert ended.verdict == PROMOTE
    assert expect_whole(registry) == ended.manifest
    assert [v.manifest.run_id for v in registry.versions()] == ["run-2", "run-1"]
    assert [move.run_id for move in registry.champion().history] == ["run-1", "run-2"]
    assert ended.manifest.version == (3 if writes == WRITES.index("run") else 2)


def test_two_pods_of_one_run(registry: Registry, files: Path) -> None:
    """Both are about to write the manifest at the same time."""
    versions = [registry.claim("run-1", f"pod-{i}") for i in range(2)]
    assert versions == [1, 1]
    records = [registry.upload(files, 1, f"pod-{i}") for i in range(2)]
    committed = [registry.commit(1, draft("run-1", f"pod-{i}"), records[i]) for i in range(2)]
    assert committed[0] == committed[1]
    for published in committed:
        assert registry.challenge(published).verdict == PROMOTE
    assert expect_whole(registry).attempt == "pod-0"
    assert len(registry.champion().history) == 1


@pytest.mark.parametrize("what", ["config", "data"])
def test_another_pod_of_the_run_with_other_options(
    registry: Registry, files: Path, what: str
) -> None:
    registry.publish(files, draft("run-0"))
    version = registry.claim("run-1", "pod-0")
    first = draft("run-1", "pod-0")
    registry.commit(version, first, registry.upload(files, version, "pod-0"))
    other = dataclasses.replace(first, attempt="pod-1")
    if what == "config":
        other = dataclasses.replace(other, config={**first.config, "epochs": 11})
    else:
        other = dataclasses.replace(other, data=dataclasses.replace(first.data, digest="1" * 64))
    with pytest.raises(UsageError, match="--run-id: expected the options and the data"):
        registry.publish(files, other)
    assert expect_whole(registry).run_id == "run-0"


def test_pods_of_one_run_race(registry: Registry, files: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        ended = list(pool.map(lambda i: registry.publish(files, draft("run", f"p{i}")), range(6)))
    assert len({published.manifest for published in map(_hashable, ended)}) == 1
    assert len(registry.versions()) == 1
    assert len(registry.champion().history) == 1
    expect_whole(registry)


def _hashable(published: Published) -> Published:
    manifest = dataclasses.replace(
        published.manifest, files=(), config=(), device=(), library_versions=()
    )
    return dataclasses.replace(published, manifest=manifest)


def test_runs_race(registry: Registry, files: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        ended = list(pool.map(lambda i: registry.publish(files, draft(f"run-{i}")), range(6)))
    assert sorted(p.manifest.version for p in ended) == [1, 2, 3, 4, 5, 6]
    assert expect_whole(registry).version == 6
    moves = [move.after for move in registry.champion().history]
    assert moves == sorted(moves)
    promoted = [p.manifest.version for p in ended if p.verdict.promote]
    assert sorted(promoted) == moves


PUBLISH = """
import sys
sys.path[:0] = sys.argv[4:]
from pathlib import Path
from drafts import draft
from registries import Registry
from job.storage import open_store
registry = Registry(open_store(sys.argv[1]), "mnist")
sys.stdin.readline()
for i in range(3):
    registry.publish(Path(sys.argv[2]), draft(f"run-{i}", sys.argv[3]))
"""


def test_processes_race(registry: Registry, store_uri: str, files: Path) -> None:
    """Every one of three runs is published by three pods, in three processes."""
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PUBLISH,
                store_uri,
                str(files),
                f"p{i}",
                str(SUPPORT),
                str(ROOT),
            ],
            stdin=subprocess.PIPE,
        )
        for i in range(3)
    ]
    for process in processes:
        process.communicate(b"go\n", timeout=120)
    assert [process.returncode for process in processes] == [0, 0, 0]
    run_ids = [listed.manifest.run_id for listed in registry.versions()]
    assert sorted(run_ids) == ["run-0", "run-1", "run-2"]
    moves = registry.champion().history
    assert len({move.run_id for move in moves}) == len(moves)
    assert [move.after for move in moves] == sorted(move.after for move in moves)
    assert expect_whole(registry) == registry.resolve("latest")


def test_a_late_job_moves_nothing_back(registry: Registry, files: Path) -> None:
    version = registry.claim("slow", "pod-1")
    registry.publish(files, draft("fast"))
    records = registry.upload(files, version, "pod-1")
    late = registry.challenge(registry.commit(version, draft("slow"), records))
    assert late.manifest.version == 1
    assert not late.verdict.promote
    assert late.verdict.reasons[-1] == "Version 1 is not newer than the champion, version 2."
    assert registry.resolve("champion").version == 2
    assert registry.resolve("latest").version == 2


def challenger(registry: Registry, files: Path, run_id: str) -> Published:
    version = registry.claim(run_id, "pod-1")
    return registry.commit(version, draft(run_id), registry.upload(files, version, "pod-1"))


def test_a_lost_swap_is_decided_again(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    registry.publish(files, draft("run-2"))
    measured = []

    def decide(champion: Manifest | None) -> Verdict:
        measured.append(champion.version)
        if len(measured) == 1:
            registry.rollback()
        return Verdict(promote=True, reasons=(f"Better than version {champion.version}.",))

    ended = registry.challenge(challenger(registry, files, "run-3"), decide)
    assert measured == [2, 1]
    assert ended.verdict.reasons == ("Better than version 1.",)
    move = registry.champion().history[-1]
    assert (move.before, move.after, move.reason) == (1, 3, "Better than version 1.")


def test_a_job_overtaken_while_it_decides(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    challenge = challenger(registry, files, "run-2")

    def decide(champion: Manifest | None) -> Verdict:
        registry.publish(files, draft("run-3"))
        return PROMOTE

    assert not registry.challenge(challenge, decide).verdict.promote
    assert registry.resolve("champion").version == 3


def test_the_first_champion_is_judged_against_none(registry: Registry, files: Path) -> None:
    asked = []
    registry.publish(files, draft("run-1"), lambda champion: asked.append(champion) or PROMOTE)
    assert asked == [None]


# By hand


def test_promote_and_rollback(registry: Registry, files: Path) -> None:
    for i in (1, 2, 3):
        registry.publish(files, draft(f"run-{i}"))
    move = registry.rollback(reason="It fails on sevens.")
    assert (move.before, move.after, move.command) == (3, 2, "rollback")
    assert registry.champion().history[-1] == move
    assert move.reason == "It fails on sevens."
    assert registry.rollback().after == 1
    with pytest.raises(DataNotFound, match="champion before"):
        registry.rollback()
    assert registry.promote("latest").after == 3
    assert registry.promote("3") == registry.champion().history[-1]
    assert registry.rollback().after == 1
    assert [move.after for move in registry.champion().history] == [1, 2, 3, 2, 1, 3, 1]


def test_what_was_rolled_back_comes_back_by_hand_only(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    registry.publish(files, draft("run-2", verdict=REJECT))
    registry.promote("2")
    registry.rollback()
    late = registry.check("run-2")
    ended = registry.challenge(late, lambda champion: PROMOTE)
    assert "was rolled back" in ended.verdict.reasons[-1]
    assert not ended.verdict.promote
    assert registry.resolve("champion").version == 1
    assert registry.publish(files, draft("run-3")).verdict.promote
    assert registry.promote("2").after == 2


def test_what_is_made_from_the_same_does_not_come_back_either(
    registry: Registry, files: Path
) -> None:
    def made_from(run_id: str, fingerprint: str) -> Draft:
        return dataclasses.replace(draft(run_id), fingerprint=fingerprint)

    registry.publish(files, made_from("run-1", "a" * 64))
    registry.publish(files, made_from("run-2", "b" * 64))
    for key in keys(registry):
        if key.startswith("mnist/versions/2/"):
            registry.store.delete(key)  # the pointer alone remembers
    registry.rollback()
    again = registry.publish(files, made_from("run-3", "b" * 64), lambda champion: PROMOTE)
    assert not again.verdict.promote
    assert "as version 2, which was rolled back" in again.verdict.reasons[-1]
    assert registry.resolve("champion").version == 1
    assert registry.publish(files, made_from("run-4", "c" * 64)).verdict.promote
    assert registry.promote("3").after == 3
    fates = {listed.version: listed.status for listed in registry.versions()}
    assert fates == {4: "promoted", 3: "promoted by hand", 1: "promoted"}


def test_a_rollback_passes_over_what_is_made_from_the_same(registry: Registry, files: Path) -> None:
    for i, letter in enumerate("abcbb", start=1):
        made = dataclasses.replace(draft(f"run-{i}"), fingerprint=letter * 64)
        registry.publish(files, made)
    assert registry.rollback().after == 3
    assert registry.rollback().after == 1
    with pytest.raises(DataNotFound, match="champion before"):
        registry.rollback()
    registry.promote("4")
    registry.promote("3")
    assert registry.rollback().after == 4  # a person stood up for it since
    assert registry.rollback().after == 1


def test_an_objection_is_told_once(registry: Registry, files: Path) -> None:
    for i, letter in enumerate("ab", start=1):
        registry.publish(files, dataclasses.replace(draft(f"run-{i}"), fingerprint=letter * 64))
    registry.rollback()
    against = objection_to_repeat(registry.champion(), "b" * 64)
    judged = Verdict(promote=False, reasons=("It is good enough.", against))
    twin = dataclasses.replace(draft("run-3", verdict=judged), fingerprint="b" * 64)
    assert registry.publish(files, twin, lambda champion: judged).verdict == judged


def test_rollback_works_when_the_champion_is_gone(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    registry.publish(files, draft("run-2"))
    for key in keys(registry):
        if key.startswith("mnist/versions/2/"):
            registry.store.delete(key)
    with pytest.raises(DataNotFound):
        registry.resolve("champion")
    assert registry.rollback().after == 1
    expect_whole(registry)


def test_nothing_damaged_is_promoted_by_hand(registry: Registry, files: Path) -> None:
    for i in (1, 2, 3):
        registry.publish(files, draft(f"run-{i}"))
    overwrite(registry, "mnist/versions/2/pod-1/model.keras", lambda data: data[:-1])
    for move in (lambda: registry.promote("2"), registry.rollback):
        with pytest.raises(DataError, match=r"version 2, pod-1/model\.keras: expected 800 bytes"):
            move()
    assert registry.resolve("champion").version == 3


# Damage


def test_a_torn_or_changed_file(registry: Registry, files: Path, tmp_path: Path) -> None:
    manifest = registry.publish(files, draft("run-1")).manifest
    key = "mnist/versions/1/pod-1/model.keras"
    for change, expected in (
        (lambda data: data[:-1], "expected 800 bytes, received 799"),
        (lambda data: b"x" + data[1:], "expected SHA-256 .*, received "),
    ):
        overwrite(registry, key, change)
        with pytest.raises(DataError, match=rf"pod-1/model\.keras: {expected}"):
            registry.fetch(manifest, manifest.files, tmp_path / "out")
        assert not (tmp_path / "out" / "pod-1" / "model.keras").exists()
        assert [file.path for file in registry.verify("1").damaged] == ["pod-1/model.keras"]
        registry.store.upload(files / "model.keras", key)
    registry.store.delete(key)
    assert registry.verify("1").damaged[0].problem == "expected a file, received none"
    with pytest.raises(DataNotFound, match=r"model\.keras"):
        registry.fetch(manifest, ["pod-1/model.keras"], tmp_path)
    with pytest.raises(DataNotFound, match="it has pod-1/metrics"):
        registry.fetch(manifest, ["nothing"], tmp_path)


def test_a_manifest_that_the_pointer_does_not_vouch_for(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))
    overwrite(registry, "mnist/versions/1/manifest.json", lambda data: data + b"\n")
    with pytest.raises(DataError, match=r"manifest\.json: expected SHA-256"):
        registry.resolve("champion")
    assert registry.resolve("1").version == 1


BROKEN = {
    "empty": lambda m: b"",
    "torn": lambda m: json.dumps(m).encode()[:-1],
    "not text": lambda m: b"\xff\xfe\x00",
    "too deep": lambda m: b"[" * 100_000,
    "no version": lambda m: {k: v for k, v in m.items() if k != "version"},
    "a version in words": lambda m: {**m, "version": "one"},
    "another version": lambda m: {**m, "version": 2},
    "another name": lambda m: {**m, "name": "other"},
    "another schema": lambda m: {**m, "schema_version": 2},
    "a hash too short": lambda m: {**m, "files": {"pod-1/x": {"size": 1, "sha256": "ab"}}},
    "a file above": lambda m: {**m, "files": {"pod-1/../../x": {"size": 1, "sha256": "0" * 64}}},
    "a file elsewhere": lambda m: {**m, "files": {"/etc/x": {"size": 1, "sha256": "0" * 64}}},
    "a time without a zone": lambda m: {**m, "created": "2026-01-01T00:00:00"},
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_manifest(tmp_path: Path, files: Path, damage: str) -> None:
    registry = Registry(open_store(str(tmp_path / "store")), "mnist")
    registry.publish(files, draft("run-1"))
    registry.publish(files, draft("run-2", verdict=REJECT))

    def change(data: bytes) -> bytes:
        changed = BROKEN[damage](json.loads(data))
        return changed if isinstance(changed, bytes) else json.dumps(changed).encode()

    overwrite(registry, "mnist/versions/1/manifest.json", change)
    for call in (lambda: registry.resolve("1"), lambda: registry.check("run-1")):
        with pytest.raises(DataError, match=r"versions/1/manifest\.json: expected .* Received: "):
            call()
    good, broken = registry.versions()
    assert (good.version, good.problem) == (2, "")
    assert (broken.version, broken.manifest) == (1, None)
    assert "Received: " in broken.problem


def test_what_a_newer_writer_adds_is_no_damage(registry: Registry, files: Path) -> None:
    registry.publish(files, draft("run-1"))

    def add(data: bytes) -> bytes:
        document = json.loads(data)
        document["new"] = document["data"]["new"] = document["verdict"]["new"] = {"more": 1}
        return json.dumps(document).encode()

    overwrite(registry, "mnist/versions/1/manifest.json", add)
    assert registry.resolve("1").data.uri == "mnist"


def test_references(registry: Registry, files: Path) -> None:
    for ref in ("latest", "1", "champion"):
        with pytest.raises(DataNotFound, match=r"Received: (none yet|no version)\."):
            registry.resolve(ref)
    registry.claim("never-finished", "pod-1")
    registry.publish(files, draft("run-1", verdict=REJECT))
    registry.publish(files, draft("run-2", verdict=REJECT))
    registry.claim("unfinished", "pod-1")
    with pytest.raises(DataNotFound, match=r"version 7 .* Received: 3, 2\."):
        registry.resolve("7")
    with pytest.raises(DataNotFound, match="none yet"):
        registry.resolve("champion")
    assert registry.resolve("latest").version == 3
    for ref in ("", "0", "03", "-1", "newest", "../1", "1/../2"):
        with pytest.raises(UsageError, match="Expected a version number, champion or latest"):
            registry.resolve(ref)


# The start-up check


def test_the_check_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    assert registry.check("run-1") is None
    assert registry.check(None) is None
    assert keys(registry) == set()
    assert not (tmp_path / "store").exists()


def test_no_such_bucket_is_found_at_the_start(s3_uri: str) -> None:
    store = open_store(f"s3://no-such-bucket-{uuid.uuid4().hex}/x")
    with pytest.raises(AccessDenied, match="NoSuchBucket") as caught:
        Registry(store, "mnist").check("run-1")
    assert "Create the bucket" in caught.value.hint


@pytest.fixture
def proxy(s3: seaweed.SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch):
    with proxies.serve(s3.env) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        yield proxy


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_a_condition(proxy: proxies.Proxy, s3_uri: str, header: str) -> None:
    proxy.fault = lambda request: Fault.UNCONDITIONAL if header in request.headers else Fault.NONE
    registry = Registry(open_store(s3_uri), "mnist")
    with pytest.raises(AccessDenied, match=rf"condition \({header}.*the write was accepted"):
        registry.check("run-1")
    assert keys(registry) == set()


def test_a_lost_answer_at_any_write(proxy: proxies.Proxy, s3_uri: str, files: Path) -> None:
    """Every single write's answer gets lost once, and the run is none the wiser."""
    lost = set()

    def lose_each_once(request: proxies.Request) -> Fault:
        if request.method == "PUT" and request.path not in lost:
            lost.add(request.path)
            return Fault.SWALLOW
        return Fault.NONE

    proxy.fault = lose_each_once
    registry = Registry(open_store(s3_uri), "mnist")
    assert registry.check("run-1") is None
    published = registry.publish(files, draft("run-1"))
    assert len(lost) == len(WRITES) + 2  # of the probe, an object and a part
    assert published.manifest.version == 1
    assert len(registry.champion().history) == 1
    assert expect_whole(registry) == published.manifest


def test_credentials_that_expire_in_mid_run(proxy: proxies.Proxy, s3_uri: str, files: Path) -> None:
    store = Patient(open_store(s3_uri), 0)
    registry = Registry(store, "mnist")
    registry.check("run-1")
    proxy.fault = lambda request: Fault.EXPIRED
    with pytest.raises(AccessDenied):
        registry.check("run-1")
    store.admit()
    for step in (
        lambda: registry.publish(files, draft("run-1")),
        lambda: registry.upload(files, 1, "pod-1"),
        lambda: registry.commit(1, draft("run-1"), {}),
    ):
        with pytest.raises(StoreError, match="ExpiredToken") as caught:
            step()
        assert "allowed when the run began" in caught.value.hint


# The documented policies


def policy(title: str, s3: seaweed.SeaweedFS, s3_uri: str) -> dict:
    """The documented policy, for the bucket and the prefix of this test."""
    readme = (ROOT / "job/registry/README.md").read_text()
    [text] = re.findall(rf"^[^\n]*{title} policy.*?```json\n(.*?)```", readme, re.S | re.I | re.M)
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
    return json.loads(text.replace("BUCKET", s3.bucket).replace("PREFIX", prefix))


def act_as(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)


def test_the_trainer_policy_is_enough_and_no_more(
    s3: seaweed.SeaweedFS, s3_uri: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as(s3.identity(policy("trainer", s3, s3_uri)), monkeypatch)
    (files / "large").write_bytes(b"x" * (9 << 20))
    registry = Registry(open_store(s3_uri), "mnist")
    assert registry.check("run-1") is None
    assert registry.publish(files, draft("run-1")).verdict.promote
    assert registry.check("run-1") is not None
    assert registry.publish(files, draft("run-2")).verdict.promote
    assert registry.rollback().after == 1
    assert expect_whole(registry).version == 1
    elsewhere = open_store(s3_uri.rpartition("/")[0])
    for forbidden in (
        lambda: registry.store.delete("mnist/versions/1/manifest.json"),
        lambda: registry.store.delete("mnist/champion.json"),
        lambda: registry.store.write("elsewhere", b""),
        lambda: elsewhere.write("elsewhere", b""),
        lambda: list(elsewhere.list("")),
    ):
        with pytest.raises(AccessDenied, match="AccessDenied"):
            forbidden()


def test_the_reader_policy_is_enough_and_no_more(
    s3: seaweed.SeaweedFS, s3_uri: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(open_store(s3_uri), "mnist")
    registry.publish(files, draft("run-1"))
    registry.publish(files, draft("run-2"))
    act_as(s3.identity(policy("reader", s3, s3_uri)), monkeypatch)
    reader = Registry(open_store(s3_uri), "mnist")
    for ref in ("champion", "latest", "2"):
        reader.fetch(reader.resolve(ref), ["pod-1/model.keras"], tmp_path / ref)
    assert len(reader.versions()) == 2
    with pytest.raises(DataNotFound, match=r"Received: 2, 1\."):
        reader.resolve("3")
    before = keys(registry)
    for forbidden in (
        lambda: reader.check("run-3"),
        lambda: reader.promote("1"),
        lambda: reader.publish(files, draft("run-3")),
        reader.rollback,
        lambda: reader.store.upload(files / "model.keras", "mnist/x"),
        lambda: reader.store.delete("mnist/champion.json"),
    ):
        with pytest.raises(AccessDenied, match="AccessDenied"):
            forbidden()
    assert keys(registry) == before


def test_without_permission_to_list_a_store_without_a_champion_is_refused(
    s3: seaweed.SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = policy("trainer", s3, s3_uri)
    allowed["Statement"] = [s for s in allowed["Statement"] if s["Action"] != "s3:ListBucket"]
    act_as(s3.identity(allowed), monkeypatch)
    with pytest.raises(AccessDenied) as caught:
        Registry(open_store(s3_uri), "mnist").check("run-1")
    assert "s3:ListBucket" in caught.value.hint

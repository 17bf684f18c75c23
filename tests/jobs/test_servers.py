"""What the job needs of an S3 server, tried on real ones: on each that S3_SERVERS names.

SeaweedFS and moto run always; `uv run python -m tests.jobs.servers` runs all. A server that
ignores conditional writes must be rejected before anything is written.
"""

import contextlib
import hashlib
import json
import os
import secrets
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kill
import numpy as np
import proxy as proxies
import pytest
import s3_servers
import tiny
from drafts import draft
from registries import Registry
from s3_servers import Server

from job.errors import AccessDenied
from job.registry import prune
from job.storage import Conflict, Store, open_store
from job.storage.probe import probe
from job.storage.s3_budget import PART_BYTES

LARGE = 2 * PART_BYTES + 5
"""Bytes: three parts."""
OPTIONS = ("--epochs=6", "--hidden=32", "--batch-size=5", "--device=cpu", "--checkpoint-every=0.05")


@pytest.fixture(scope="module", params=os.environ.get("S3_SERVERS", "seaweedfs,moto").split(","))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with s3_servers.serve(request.param) as made:
        print(f"server: {made.name} {made.version}")
        yield made


@pytest.fixture
def uri(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix; the environment holds the credentials."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("model.keras", "metrics.json", "report.html", "history.csv", "README.md"):
        (folder / name).write_text(name)
    return folder


@contextlib.contextmanager
def accepted(server: Server, store: Store) -> Iterator[None]:
    """For what works on a server with conditional writes; elsewhere it must change nothing."""
    if not server.ignores:
        yield
        return
    before = {entry.key: entry.etag for entry in store.list("")}
    with pytest.raises(AccessDenied, match="write whose condition"):
        yield
    assert {entry.key: entry.etag for entry in store.list("")} == before


def seeded(server: Server, uri: str, files: Path, count: int) -> Registry:
    """Versions, published in a folder and copied by a plain client: no server is asked to judge."""
    folder = files.parent / "seed"
    for i in range(1, count + 1):
        Registry(open_store(str(folder)), "m").publish(files, draft(f"run-{i}"))
    prefix = uri.removeprefix(f"s3://{server.bucket}/")
    for path in folder.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            server.client().put_object(Bucket=server.bucket, Key=key, Body=path.read_bytes())
    return Registry(open_store(uri), "m")


def test_probe(server: Server, uri: str) -> None:
    store = open_store(uri)
    with accepted(server, store):
        probe(store, "m/.probe", large=True)
    assert list(store.list("")) == []
    missing = open_store(f"s3://no-such-bucket-{secrets.token_hex(8)}/x")
    with pytest.raises(AccessDenied, match="NoSuchBucket") as caught:
        probe(missing, "m/.probe")
    assert "Create the bucket" in caught.value.hint


def test_publish(server: Server, uri: str, files: Path) -> None:
    registry = Registry(open_store(uri), "m")
    with accepted(server, registry.store):
        assert registry.check("run-1") is None
    if server.ignores:
        return
    for run_id, version in (("run-1", 1), ("run-2", 2), ("run-1", 1)):
        assert registry.publish(files, draft(run_id)).manifest.version == version
        assert registry.verify(str(version)).damaged == ()
    assert registry.champion().version == 2
    assert registry.check("run-1").manifest.version == 1
    prefix = uri.removeprefix(f"s3://{server.bucket}/") + "/m/"
    types = {
        "champion.json": "application/json",
        "versions/1/manifest.json": "application/json",
        "versions/1/pod-1/report.html": "text/html; charset=utf-8",
        "versions/1/pod-1/history.csv": "text/csv; charset=utf-8",
        "versions/1/pod-1/README.md": "text/markdown; charset=utf-8",
    }
    for key, expected in types.items():
        head = server.client().head_object(Bucket=server.bucket, Key=prefix + key)
        assert head["ContentType"] == expected


def test_race(server: Server, uri: str, files: Path) -> None:
    with accepted(server, open_store(uri)):
        Registry(open_store(uri), "m").check(None)
    if server.ignores:
        return

    def publish(i: int) -> int:
        return Registry(open_store(uri), "m").publish(files, draft(f"run-{i}")).manifest.version

    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(publish, range(6)))
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    champion = Registry(open_store(uri), "m").champion()
    assert champion.version == 6
    moves = champion.history
    assert [move.before for move in moves] == [None, *(move.after for move in moves[:-1])]


def test_promote(server: Server, uri: str, files: Path) -> None:
    registry = seeded(server, uri, files, 3)
    with accepted(server, registry.store):
        registry.promote("1")
    with ThreadPoolExecutor(2) as pool:  # at the same time, each with a client of its own
        moves = [
            pool.submit(lambda ref: Registry(open_store(uri), "m").promote(ref), ref)
            for ref in ("2", "3")
        ]
    if server.ignores:
        assert [type(move.exception()) for move in moves] == [AccessDenied] * 2
        return
    history = registry.champion().history
    assert [move.after for move in history[:4]] == [1, 2, 3, 1]
    assert {move.after for move in history[4:]} == {2, 3}
    assert len(history) == 6


def test_rollback(server: Server, uri: str, files: Path) -> None:
    registry = seeded(server, uri, files, 3)
    with accepted(server, registry.store):
        assert registry.rollback().after == 2
    assert registry.champion().version == (3 if server.ignores else 2)


def test_prune(server: Server, uri: str, files: Path) -> None:
    registry = seeded(server, uri, files, 5)
    with accepted(server, registry.store):
        assert prune.carry_out(registry, prune.plan(registry, 1)) is False
    left = [each.version for each in registry.versions()]
    assert left == ([5, 4, 3, 2, 1] if server.ignores else [5, 4])


def test_versioned(server: Server, uri: str, files: Path) -> None:
    """In a versioned bucket everything works, and `prune` says so; or nothing is begun."""
    bucket = f"versioned-{secrets.token_hex(4)}"
    client = server.client()
    client.create_bucket(Bucket=bucket)
    if not server.ignores:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    registry = Registry(open_store(f"s3://{bucket}/x"), "m")
    if server.ignores or not server.versioned:
        with pytest.raises(AccessDenied, match="write whose condition"):
            registry.check(None)
        assert list(registry.store.list("")) == []
        return
    registry.check(None)
    for i in range(1, 5):
        registry.publish(files, draft(f"run-{i}"))
    assert prune.carry_out(registry, prune.plan(registry, 1)) is True


@pytest.mark.timeout(900)  # three jobs, on a machine that may be busy
def test_resume(server: Server, uri: str, tmp_path: Path) -> None:
    train, test = tiny.split(2000, 0), tiny.split(200, 1)
    data = tmp_path / "data.npz"
    np.savez(data, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    with proxies.serve(server.env) as proxy:
        bench = kill.Bench(proxy, server.client(), uri, "m", tmp_path, [*OPTIONS, f"--data={data}"])
        if server.ignores:
            ended = bench.train("run-1")
            assert (ended.code, bench.keys()) == (77, [])
            return
        killed = bench.train(
            "run-1", kill.Kill(signal=signal.SIGKILL, event="epoch.ended", count=3)
        )
        assert killed.code == -signal.SIGKILL
        assert [key for key in bench.keys("runs/run-1/") if "checkpoint" in key]
        resumed = bench.train("run-1")
        assert resumed.code == 0, resumed.errors
        assert "run.resumed" in [event[kill.EVENT] for event in resumed.events]
        assert bench.train("whole", None, "--rejection-ok").code == 0
        assert bench.bits("run-1") == bench.bits("whole")
        assert [key for key in bench.keys("runs/") if "checkpoint" in key] == []


def test_multipart(server: Server, uri: str, tmp_path: Path) -> None:
    store = open_store(uri)
    with accepted(server, store):
        probe(store, ".probe", large=True)
    first, second = os.urandom(LARGE), os.urandom(LARGE)
    (tmp_path / "file").write_bytes(first)
    store.upload(tmp_path / "file", "m/file")
    store.download("m/file", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == first
    etag = store.write("m/large", first)
    assert store.read("m/large")[0] == first
    if server.ignores:
        return
    assert store.entry("m/large").etag == store.read("m/large")[1] == etag
    newer = store.write("m/large", second, if_match=etag)
    for condition in ({"if_match": etag}, {"if_none_match": True}):
        with pytest.raises(Conflict):
            store.write("m/large", first, **condition)
        assert store.write("m/large", second, **condition) == newer  # its own
    digest = hashlib.sha256(store.read("m/large")[0]).hexdigest()
    assert digest == hashlib.sha256(second).hexdigest()
    store.write("m/new", first, if_none_match=True)
    assert json.dumps(sorted(entry.key for entry in store.list("m"))) == json.dumps(
        ["m/file", "m/large", "m/new"]
    )

"""What requests carry and how large writes arrive, seen by a proxy in front of SeaweedFS."""

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import proxy as proxies
import pytest
import seaweed
from drafts import draft
from proxy import Fault, Request
from registries import Registry

from job.config import Config, PublishingOptions
from job.errors import AccessDenied, JobError, UsageError
from job.registry import prune
from job.storage import Access, Conflict, open_store, s3_budget, use
from job.storage.probe import probe
from job.storage.s3_budget import PART_BYTES
from job.storage.uri import bucket_of

LARGE = b"x" * (2 * PART_BYTES + 5)
ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"


@pytest.fixture
def proxy(
    s3: seaweed.SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[proxies.Proxy]:
    with proxies.serve(s3.env) as proxy:
        for name, value in proxy.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        yield proxy
    use(Access())


def quoted(request: Request) -> bool:
    return request.headers.get("If-Match", "").startswith('"')


@pytest.mark.parametrize("takes_quotes", [True, False])
def test_a_server_that_takes_one_spelling_of_an_etag(
    proxy: proxies.Proxy, s3_uri: str, takes_quotes: bool
) -> None:
    def fault(request: Request) -> Fault:
        wrong = "If-Match" in request.headers and quoted(request) is not takes_quotes
        return Fault.PRECONDITION if wrong else Fault.NONE

    proxy.fault = fault
    store = open_store(s3_uri)
    probe(store, "m/.probe", large=True)
    etag = store.write("m/a", b"first")
    proxy.seen.clear()
    newer = store.write("m/a", b"second", if_match=etag)
    assert [quoted(request) for request in proxy.seen] == [takes_quotes]
    with pytest.raises(Conflict):
        store.write("m/a", b"third", if_match=etag)
    assert store.read("m/a") == (b"second", newer)


def test_a_server_that_rejects_every_if_match_is_no_store(
    proxy: proxies.Proxy, s3_uri: str
) -> None:
    proxy.fault = lambda r: Fault.PRECONDITION if "If-Match" in r.headers else Fault.NONE
    with pytest.raises(AccessDenied, match="accept a write whose condition"):
        probe(open_store(s3_uri), "m/.probe")


@pytest.mark.parametrize("command", ["promote", "rollback", "prune"])
def test_no_command_moves_a_pointer_without_conditional_writes(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, command: str
) -> None:
    (tmp_path / "model.keras").write_text("x")
    registry = Registry(open_store(s3_uri), "m")
    for i in range(1, 5):
        registry.publish(tmp_path, draft(f"run-{i}"))
    before = registry.pointer.read()
    proxy.fault = lambda r: Fault.UNCONDITIONAL if "If-Match" in r.headers else Fault.NONE
    act = {
        "promote": lambda: registry.promote("1"),
        "rollback": registry.rollback,
        "prune": lambda: prune.carry_out(registry, prune.plan(registry, 1)),
    }[command]
    with pytest.raises(AccessDenied, match="the write was accepted"):
        act()
    assert registry.pointer.read() == before


def test_a_bucket_is_looked_for_before_it_is_written(proxy: proxies.Proxy, s3_uri: str) -> None:
    """Some servers make the bucket that a write names."""
    with pytest.raises(AccessDenied, match="NoSuchBucket"):
        probe(open_store(f"s3://misspelt-{uuid.uuid4().hex}/x"), "m/.probe")
    assert {request.method for request in proxy.seen} == {"GET"}


def test_many_parts_at_a_time_have_a_connection_each(
    s3_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abcd":
        (tmp_path / name).write_bytes(LARGE * 2)
    Registry(open_store(s3_uri), "m").publish(tmp_path, draft("run-1"))
    assert "pool is full" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "region"),
    [
        ({"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
    ],
)
def test_the_region(
    proxy: proxies.Proxy, s3_uri: str, monkeypatch, settings: dict[str, str], region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    list(open_store(s3_uri).list(""))
    assert f"/{region}/s3/" in proxy.seen[-1].headers["Authorization"]


def test_upload_headers(proxy: proxies.Proxy, s3_uri: str, tmp_path: Path) -> None:
    given = ("x-amz-acl=bucket-owner-full-control", "X-Amz-Tagging=team=ml")
    use(Access.of(publishing=PublishingOptions(store=s3_uri, upload_header=given)))
    store = open_store(s3_uri)
    (tmp_path / "file").write_bytes(LARGE)
    store.write("a", b"x")
    store.write("b", LARGE)
    store.upload(tmp_path / "file", "c")
    store.read("a")
    begins = [r for r in proxy.seen if r.path.endswith("/a") or r.path.endswith("?uploads")]
    for request in begins[:3]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert headers["x-amz-acl"] == "bucket-owner-full-control"
        assert headers["x-amz-tagging"] == "team=ml"
    assert len(begins) == 4
    assert "x-amz-acl" not in {name.lower() for name in begins[3].headers}  # the GET


@pytest.mark.parametrize("header", ["acl=private", "x-amz-acl", "x-amz-acl=", "x-amz-acl= x"])
def test_what_is_no_upload_header(header: str) -> None:
    with pytest.raises(UsageError, match="--upload-header: expected x-amz-NAME=VALUE"):
        PublishingOptions(upload_header=(header,))


def test_requester_pays_and_unsigned_data(proxy: proxies.Proxy, s3_uri: str) -> None:
    config = Config.of(
        data="s3://public/data.csv, s3://also-public/x.csv", name="m", store=s3_uri,
        requester_pays=True, unsigned_data=True,
    )  # fmt: skip
    use(Access.of(config.data, config.publishing))
    for uri, signed in (("s3://public/x", False), ("s3://also-public", False), (s3_uri, True)):
        with contextlib.nullcontext() if signed else pytest.raises(JobError):
            list(open_store(uri).list(""))
        headers = {name.lower(): value for name, value in proxy.seen[-1].headers.items()}
        assert ("authorization" in headers) is signed
        assert headers["x-amz-request-payer"] == "requester"


@pytest.mark.parametrize("given", [True, False])
def test_evaluate_reads_data_unsigned_and_the_store_of_the_same_bucket_signed(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, given: bool
) -> None:
    (tmp_path / "model.keras").write_text("x")
    data = f"{s3_uri}/public.npz"
    drafted = draft("run-1")
    Registry(open_store(s3_uri), "m").publish(
        tmp_path, replace(drafted, data=replace(drafted.data, uri=data))
    )
    proxy.seen.clear()
    command = [sys.executable, "-m", "job", "evaluate", "1", "--name=m", f"--store={s3_uri}"]
    done = subprocess.run(
        [*command, "--unsigned-data", *([f"--data={data}"] if given else [])],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 77, done.stderr  # this bucket is not public
    data_and_signed = {("public.npz" in r.path, "Authorization" in r.headers) for r in proxy.seen}
    assert data_and_signed == {(True, False), (False, True)}


def test_access_points(proxy: proxies.Proxy) -> None:
    assert bucket_of(f"s3://{ARN}/some/prefix") == (ARN, "some/prefix")
    assert bucket_of(f"s3://{ARN}") == (ARN, "")
    assert bucket_of("s3://mine-abc-s3alias/x") == ("mine-abc-s3alias", "x")
    assert open_store(f"s3://{ARN}/some/prefix").uri == f"s3://{ARN}/some/prefix"
    with pytest.raises(UsageError):
        open_store("s3://arn:aws:sns:eu-west-1:123456789012:topic/x")


def test_a_large_write_whose_last_answer_is_lost_is_ones_own(
    proxy: proxies.Proxy, s3_uri: str
) -> None:
    store = open_store(s3_uri)
    probe(store, "m/.probe", large=True)
    faults = [Fault.SWALLOW]

    def fault(request: Request) -> Fault:
        completes = request.method == "POST" and "uploadId=" in request.path
        return faults.pop() if completes and faults else Fault.NONE

    proxy.fault = fault
    etag = store.write("m/a", LARGE, if_none_match=True)
    assert store.read("m/a") == (LARGE, etag)
    assert not faults


def test_a_large_write_in_one_request_has_time_in_proportion(
    proxy: proxies.Proxy, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_budget, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(s3_budget, "BYTES_PER_SECOND", len(LARGE) / 5)
    store = open_store(s3_uri)  # nobody has probed what completions it honours
    proxy.delay = 1.0
    with store.within(0):
        etag = store.write("m/a", LARGE, if_none_match=True)
    proxy.delay = 0.0
    assert store.read("m/a") == (LARGE, etag)
    assert [r.method for r in proxy.seen if r.path.endswith("/m/a")][:1] == ["PUT"]


def test_a_policy_that_may_not_delete_dooms_nothing(
    s3: seaweed.SeaweedFS, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.keras").write_text("x")
    registry = Registry(open_store(s3_uri), "m")
    for i in range(1, 5):
        registry.publish(tmp_path, draft(f"run-{i}"))
    before = registry.pointer.read()
    anywhere = f"arn:aws:s3:::{s3.bucket}"
    allowed = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": allowed, "Resource": [anywhere, f"{anywhere}/*"]},
            {
                "Effect": "Allow",
                "Action": "s3:DeleteObject",
                "Resource": f"{anywhere}/*/.probe/*",
            },
        ],
    }
    env = s3.identity(policy)
    command = [sys.executable, "-m", "job", "prune", "--keep=1", "--yes", f"--store={s3_uri}"]
    done = subprocess.run(
        [*command, "--name=m"], env={"PATH": "", **env}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 77, done.stderr
    assert "delete" in done.stderr
    assert registry.pointer.read() == before
    assert [each.version for each in registry.versions()] == [4, 3, 2, 1]


def test_models_shows_what_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("x")
    store = tmp_path / f"store-{uuid.uuid4().hex}"
    registry = Registry(open_store(str(store)), "m")
    for i in range(1, 5):
        registry.publish(tmp_path / "model.keras", draft(f"run-{i}"))
    decided = prune.plan(registry, 1)
    registry.doom(decided.champion, decided.etag, decided.doomed)  # and killed there
    command = [sys.executable, "-m", "job", "models", f"--store={store}", "--name=m"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert shown.count("given up") == 2
    read = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    fates = {each["version"]: each["fate"] for each in json.loads(read)["models"]["m"]}
    assert (fates[1], fates[2]) == ("given up", "given up")

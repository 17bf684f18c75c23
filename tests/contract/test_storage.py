"""Both stores keep the same promises, and tell every failure in the job's own words."""

import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import botocore.exceptions
import proxy as proxies
import pytest
import seaweed
from proxy import Fault

from job.errors import AccessDenied, DataError, DataNotFound, JobError, StoreError, UsageError
from job.storage import Conflict, Store, open_store, s3_budget
from job.storage.s3_errors import translated

BIG = 9 * 2**20
"""Bytes; boto3 sends more than 8 MiB in parts."""


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def proxy(
    s3: seaweed.SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[proxies.Proxy]:
    with proxies.serve(s3.env) as proxy:
        for name, value in proxy.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        yield proxy


def in_threads(work: Callable[[int], None], numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, numbers))


# The contract


def test_what_is_written_is_read(store: Store) -> None:
    etag = store.write("m/a.json", b"one")
    assert store.read("m/a.json") == (b"one", etag)
    assert store.write("m/a.json", b"two") != etag
    assert store.read("m/a.json")[0] == b"two"


def test_what_is_there_is_told_without_reading_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * BIG)
    store.upload(tmp_path / "file", "m/big")
    store.write("m/a", b"one")
    assert {entry.key: entry for entry in store.list("m")} == {
        key: store.entry(key) for key in ("m/a", "m/big")
    }
    assert store.entry("m/big").size == BIG
    with pytest.raises(DataNotFound, match="m/b"):
        store.entry("m/b")


def test_creating_is_done_by_one_only(store: Store) -> None:
    store.write("m/a", b"first", if_none_match=True)
    with pytest.raises(Conflict):
        store.write("m/a", b"second", if_none_match=True)
    assert store.read("m/a")[0] == b"first"


def test_swapping_needs_the_current_etag(store: Store) -> None:
    old = store.write("m/a", b"first")
    new = store.write("m/a", b"second", if_match=old)
    with pytest.raises(Conflict):
        store.write("m/a", b"third", if_match=old)
    assert store.read("m/a") == (b"second", new)


def test_swapping_what_is_gone_is_lost(store: Store) -> None:
    etag = store.write("m/a", b"first")
    store.delete("m/a")
    with pytest.raises(Conflict):
        store.write("m/a", b"second", if_match=etag)


def test_a_lost_write_of_the_same_bytes_is_ones_own(store: Store) -> None:
    old = store.write("m/a", b"first")
    new = store.write("m/a", b"run 1, attempt 1", if_match=old)
    assert store.write("m/a", b"run 1, attempt 1", if_match=old) == new
    assert store.write("m/a", b"run 1, attempt 1", if_none_match=True) == new


@pytest.mark.parametrize("size", [0, 1000, BIG])
def test_files_of_any_size(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    store.upload(source, "m/v/1/model.keras")
    store.download("m/v/1/model.keras", target)
    assert target.read_bytes() == source.read_bytes()


def test_listing(store: Store) -> None:
    etags = {key: store.write(key, key.encode()) for key in ("m/b/2/x", "m/b/10/x", "m/a", "n/c")}
    entries = {entry.key: entry for entry in store.list("m")}
    assert set(entries) == {"m/b/2/x", "m/b/10/x", "m/a"}
    assert all(entry.etag == etags[key] for key, entry in entries.items())
    assert entries["m/b/10/x"].size == 8
    assert [entry.key for entry in store.list("")] == sorted(etags)
    assert sorted(store.folders("")) == ["m", "n"]
    assert sorted(store.folders("m/b/")) == ["10", "2"]
    assert list(store.folders("nothing")) == list(store.list("nothing")) == []


def test_a_listing_may_be_longer_than_one_answer(s3_uri: str) -> None:
    store = open_store(s3_uri)

    def write(start: int) -> None:
        for i in range(start, 1010, 8):
            store.write(f"m/{i}/x", b"")

    in_threads(write, range(8))
    assert len(list(store.list("m"))) == len(list(store.folders("m"))) == 1010


def test_deleting(store: Store) -> None:
    store.write("m/a", b"")
    store.delete("m/a")
    store.delete("m/a")
    assert list(store.list("")) == []
    with pytest.raises(DataNotFound, match="m/a"):
        store.read("m/a")


def test_missing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"champion\.json"):
        store.read("m/champion.json")
    with pytest.raises(DataNotFound, match=r"champion\.json"):
        store.download("m/champion.json", tmp_path / "x")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "m/../../x", "m//x", "m/./x", "m/\0"])
def test_a_key_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="relative key"):
        store.write(key, b"")
    with pytest.raises(ValueError, match="relative key"):
        store.read(key)


INCREMENT = """
import sys
from job.storage import Conflict, open_store
store = open_store(sys.argv[1])
for _ in range(int(sys.argv[2])):
    while True:
        try:
            data, etag = store.read("m/counter")
            store.write("m/counter", b"%d %s" % (int(data.split()[0]) + 1, sys.argv[3].encode()),
                        if_match=etag)
            break
        except Conflict:
            pass
"""


def test_no_increment_is_lost_between_threads(store: Store) -> None:
    store.write("m/counter", b"0")

    def increment(name: int) -> None:
        for _ in range(5):
            while True:
                data, etag = store.read("m/counter")
                new = f"{int(data.split()[0]) + 1} {name}".encode()
                try:
                    store.write("m/counter", new, if_match=etag)
                    break
                except Conflict:
                    pass

    in_threads(increment, range(6))
    assert store.read("m/counter")[0].split()[0] == b"30"


def test_no_increment_is_lost_between_processes(store: Store, store_uri: str) -> None:
    store.write("m/counter", b"0")
    processes = [
        subprocess.Popen([sys.executable, "-c", INCREMENT, store_uri, "10", str(i)])
        for i in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert store.read("m/counter")[0].split()[0] == b"40"


@pytest.mark.parametrize("race", range(2))
def test_one_of_many_creators_wins(store: Store, race: int) -> None:
    barrier, won = threading.Barrier(8), []

    def create(name: int) -> None:
        barrier.wait()
        try:
            store.write("m/claim", b"%d" % name, if_none_match=True)
        except Conflict:
            return
        won.append(b"%d" % name)

    in_threads(create, range(8))
    assert won == [store.read("m/claim")[0]]


# Opening


@pytest.mark.parametrize(
    "uri",
    ["", "s3://", "s3:///x", "s3://b/../x", "s3://b/x//y", "gs://bucket/x", "http://x/y", "\0"],
)
def test_what_is_no_store(uri: str) -> None:
    with pytest.raises(UsageError, match=r"Expected s3://bucket/prefix or a folder\. Received: "):
        open_store(uri)


def test_opening_writes_nothing(store_uri: str, tmp_path: Path) -> None:
    store = open_store(store_uri)
    assert list(store.list("")) == []
    assert list(tmp_path.iterdir()) == []


def test_slashes_around_a_prefix_mean_nothing(s3_uri: str) -> None:
    open_store(s3_uri).write("a", b"1")
    assert open_store(s3_uri + "/").read("a")[0] == b"1"
    bucket = s3_uri.rpartition("/")[0]
    assert open_store(bucket).read(s3_uri.rpartition("/")[2] + "/a")[0] == b"1"


# Folders


def test_a_deleted_object_takes_the_folders_along_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for root in ("mine", "new/store"):
        store = open_store(str(tmp_path / root))
        store.write("m/.probe/x", b"")
        store.delete("m/.probe/x")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_folder_that_comes_and_goes_has_one_lock(tmp_path: Path) -> None:
    """A key is a mutex: to create is to take it, to delete is to give it and its folder back."""
    holders: list[int] = []

    def take_and_give(name: int) -> None:
        store = open_store(str(tmp_path / "store"))
        for _ in range(100):
            try:
                store.write("m/mutex", b"%d" % name, if_none_match=True)
            except Conflict:
                continue
            holders.append(name)
            assert holders == [name]
            holders.remove(name)
            store.delete("m/mutex")

    in_threads(take_and_give, range(8))


def test_the_litter_of_a_killed_writer_is_not_seen_and_is_swept(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "m").mkdir()
    litter = tmp_path / "m" / ".0123.tmp"
    litter.write_bytes(b"half")
    assert list(store.list("")) == []
    store.write("m/a", b"whole")
    assert not litter.exists()
    assert [entry.key for entry in store.list("")] == ["m/a"]


def test_files_have_the_modes_that_the_user_asked_for(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        open_store(str(tmp_path)).write("m/a", b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "m" / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("store_path", ["file", "file/below"])
def test_a_file_in_the_folders_place(tmp_path: Path, store_path: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match=f"Not a directory: {tmp_path / 'file'}"):
        open_store(str(tmp_path / store_path)).write("m/a", b"")


def test_a_folder_in_a_files_place(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "m" / "a").mkdir(parents=True)
    writes = (
        lambda: store.write("m/a", b""),
        lambda: store.write("m/a", b"", if_none_match=True),
        lambda: store.upload(tmp_path / "file", "m/a"),
        lambda: store.delete("m/a"),
    )
    for write in writes:
        with pytest.raises(DataError, match="Is a directory") as caught:
            write()
        assert "Move it away" in caught.value.hint
    with pytest.raises(DataNotFound):
        store.read("m/a")
    assert [entry.key for entry in store.list("m")] == []


IN_A_SUBPROCESS = """
import os, resource, sys
from pathlib import Path
from job.errors import JobError
from job.storage import open_store
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
store = open_store(sys.argv[1])
if sys.argv[2] == "unprivileged" and os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
for write in (
    lambda: store.write("m/a", b"x" * 2000),
    lambda: store.upload(Path(sys.argv[3]), "m/b"),
):
    try:
        write()
        print("written")
    except JobError as error:
        print(type(error).__name__, error.message)
"""


def _in_a_subprocess(store: Path, how: str, file: Path) -> list[str]:
    file.write_bytes(b"x" * 2000)
    command = [sys.executable, "-c", IN_A_SUBPROCESS, str(store), how, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_a_full_disk(tmp_path: Path) -> None:
    for line in _in_a_subprocess(tmp_path / "store", "full", tmp_path / "file"):
        assert line.startswith("StoreError Expected to write ")
        assert line.endswith("Received: File too large.")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Path(folder, "store")
        store.mkdir()
        store.chmod(0o555)
        for line in _in_a_subprocess(store, "unprivileged", Path(folder, "file")):
            assert line.startswith("AccessDenied Expected to write ")
            assert line.endswith("Received: Permission denied.")


# Buckets


def each_call(store: Store, tmp_path: Path) -> list[Callable[[], object]]:
    (tmp_path / "file").write_bytes(b"x")
    return [
        lambda: store.read("a"),
        lambda: store.write("a", b"x"),
        lambda: store.write("a", b"x", if_none_match=True),
        lambda: store.write("a", b"x", if_match='"0"'),
        lambda: store.upload(tmp_path / "file", "a"),
        lambda: store.download("a", tmp_path / "target"),
        lambda: list(store.list("")),
        lambda: list(store.folders("")),
        lambda: store.delete("a"),
    ]


def test_no_such_bucket(s3_uri: str, tmp_path: Path) -> None:
    store = open_store(f"s3://no-such-bucket-{uuid.uuid4().hex}/x")
    calls = each_call(store, tmp_path)
    for call in calls[:3] + calls[4:-1]:  # the others find nothing there, which is true
        with pytest.raises(DataNotFound, match="no-such-bucket"):
            call()


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId|Forbidden|403"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch|Forbidden|403"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
    ],
)
def test_wrong_credentials(
    s3_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    received: str,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for call in each_call(open_store(s3_uri), tmp_path):
        with pytest.raises(AccessDenied, match=received) as caught:
            call()
        assert caught.value.hint
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("AWS_PROFILE", "nobody", AccessDenied),
        ("AWS_ENDPOINT_URL_S3", "localhost:8333", UsageError),
        ("AWS_MAX_ATTEMPTS", "many", UsageError),
        ("AWS_RETRY_MODE", "eager", UsageError),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "sometimes", UsageError),
    ],
)
def test_settings_that_mean_nothing(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: type[JobError]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(error, match=r"Expected .*Received: "):
        open_store(s3_uri)


def test_nobody_listens(s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = seaweed.free_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for call in each_call(open_store(s3_uri), tmp_path):
        with pytest.raises(StoreError, match="Could not connect"):
            call()


def test_checksums_are_sent_unless_the_store_refuses_them(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)

    def checksums() -> list[str]:
        proxy.seen.clear()
        store = open_store(s3_uri)
        store.write("a", b"x")
        store.upload(tmp_path / "file", "b")
        headers = [name.lower() for request in proxy.seen for name in request.headers]
        return [name for name in headers if name.startswith("x-amz-checksum-")]

    assert "x-amz-checksum-sha256" in checksums()
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    assert checksums() == []


@pytest.mark.parametrize("condition", [{"if_none_match": True}, {"if_match": None}])
@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.CUT, Fault.BUSY, Fault.CONFLICT])
def test_a_write_survives_a_bad_moment(
    proxy: proxies.Proxy, s3_uri: str, fault: Fault, condition: dict[str, object]
) -> None:
    store = open_store(s3_uri)
    if "if_match" in condition:
        condition = {"if_match": store.write("m/a", b"old")}
    proxy.seen.clear()
    proxy.once(fault)
    etag = store.write("m/a", b"run 1", **condition)
    assert store.read("m/a") == (b"run 1", etag)
    assert [request.method for request in proxy.seen].count("PUT") == 2


def test_a_lost_answer_and_then_another_writer(
    proxy: proxies.Proxy, s3: seaweed.SeaweedFS, s3_uri: str
) -> None:
    store = open_store(s3_uri)
    old = store.write("m/a", b"old")
    key = s3_uri.removeprefix(f"s3://{s3.bucket}/") + "/m/a"
    faults = [Fault.NONE, Fault.SWALLOW]

    def choose(request: proxies.Request) -> Fault:
        if request.body == b"mine" and len(faults) == 1:
            s3.client().put_object(Bucket=s3.bucket, Key=key, Body=b"theirs")
        return faults.pop() if faults else Fault.NONE

    proxy.fault = choose
    with pytest.raises(Conflict):
        store.write("m/a", b"mine", if_match=old)
    assert store.read("m/a")[0] == b"theirs"


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.CUT, Fault.SWALLOW, Fault.BUSY])
def test_a_read_survives_a_bad_moment(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, fault: Fault
) -> None:
    store = open_store(s3_uri)
    store.write("m/a", b"x" * 1000)
    proxy.once(fault, "GET")
    assert store.read("m/a")[0] == b"x" * 1000
    proxy.once(fault, "GET")
    store.download("m/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"x" * 1000


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.CUT, Fault.SWALLOW, Fault.BUSY])
def test_a_store_that_stays_bad(
    proxy: proxies.Proxy,
    s3_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store(s3_uri)
    store.write("a", b"x" * 1000)
    proxy.fault = lambda request: fault
    reads = [lambda: store.read("a"), lambda: store.download("a", tmp_path / "target")]
    writes = [lambda: store.write("b", b"x", if_none_match=True), lambda: list(store.list(""))]
    for call in reads if fault is Fault.TRUNCATE else reads + writes:
        with pytest.raises(StoreError):
            call()


def test_a_budget_bounds_what_fails_and_only_that(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    store = open_store(s3_uri)
    store.write("a", b"x" * 1000)
    calls = each_call(store, tmp_path)
    with store.within(0):  # the time is over at once
        for key in "bcd":
            store.write(key, b"x")
            assert store.read(key)[0] == b"x"
        for fault, told in (
            (Fault.STALL, "Read timeout"),
            (Fault.CUT, "Connection was closed"),
            (Fault.BUSY, "SlowDown"),
        ):
            proxy.seen.clear()
            proxy.fault = lambda request, fault=fault: fault
            with store.within(0):
                for call, received in zip(calls, [told] + ["no time is left"] * 8, strict=True):
                    with pytest.raises(StoreError, match=received):
                        call()
            assert len(proxy.seen) == 1  # what came after was not even tried
    proxy.fault = lambda request: Fault.NONE
    proxy.once(Fault.CUT)
    with store.within(60):
        store.write("e", b"x")
    assert store.read("e")[0] == b"x"


def test_a_store_from_which_nothing_comes_is_given_up_in_time(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    monkeypatch.setattr(s3_budget, "FAILING_SECONDS", 0.2)
    store = open_store(s3_uri)
    store.write("a", b"x" * 1000)
    proxy.fault = lambda request: Fault.CUT if request.method == "GET" else Fault.NONE
    proxy.seen.clear()
    with pytest.raises(StoreError):
        store.download("a", tmp_path / "target")  # boto3 and botocore would try it 40 times
    assert 5 <= len(proxy.seen) < 15
    proxy.fault = lambda request: Fault.NONE
    assert store.read("a")[0] == b"x" * 1000
    proxy.once(Fault.CUT)
    assert store.read("a")[0] == b"x" * 1000  # a single failure after an answer is nothing


def test_expired_credentials(proxy: proxies.Proxy, s3_uri: str, tmp_path: Path) -> None:
    proxy.fault = lambda request: Fault.EXPIRED
    for call in each_call(open_store(s3_uri), tmp_path):
        with pytest.raises(AccessDenied, match=r"ExpiredToken|400") as caught:
            call()
        assert "fresh ones" in caught.value.hint


def test_a_missing_key_that_looks_forbidden(
    proxy: proxies.Proxy, s3_uri: str, tmp_path: Path
) -> None:
    proxy.fault = lambda request: Fault.HIDE_MISSING
    store = open_store(s3_uri)
    store.write("abc", b"x")
    for call in (lambda: store.read("ab"), lambda: store.download("ab", tmp_path / "x")):
        with pytest.raises(DataNotFound, match="no such key"):
            call()


def test_a_forbidden_key_is_not_missing(
    s3: seaweed.SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(s3_uri).write("a", b"x")
    for name, value in s3.identity().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AccessDenied, match="AccessDenied") as caught:
        open_store(s3_uri).read("a")
    assert "s3:ListBucket" in caught.value.hint


def _every_error_of_botocore() -> list[Exception]:
    kinds = [
        kind
        for kind in vars(botocore.exceptions).values()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__ == "botocore.exceptions"
    ]
    assert len(kinds) > 90
    errors = [kind.__new__(kind) for kind in kinds]  # their constructors want all sorts of things
    for error in errors:
        error.args = ("something",)
    return errors


@pytest.mark.parametrize("error", _every_error_of_botocore(), ids=lambda e: type(e).__name__)
def test_no_error_of_botocore_escapes(error: Exception) -> None:
    expected = r"Expected to read s3://b/k\. Received: ."
    with pytest.raises(JobError, match=expected) as caught, translated("read", "s3://b/k"):
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.hint

"""Real processes that train together as several hosts would: equal, killed, resumed, published."""

import csv
import json
import shutil
import signal
import socket

import hosts
import kill
import numpy as np
import pytest
from hosts import Signal
from program import QUICK, mlp_job, version_folder

from job.storage import open_store

OPTIONS = (
    *QUICK, "--batch-size=100", "--epochs=20", "--no-xla", "--dropout=0.2", "--checkpoint-every=0",
    "--name=c", "--run-id=run",
)  # fmt: skip
"""Of a job of a hundred steps that saves after every block of them."""

pytestmark = pytest.mark.timeout(600)  # several processes on few cores


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corners):
    """What two hosts publish that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    ends = hosts.train(2, folder, *OPTIONS, "--data", corners, "--store", folder)
    expect([0, 0], ends)
    assert [end.said["outcome"] for end in ends] == ["promoted", "followed"]
    return version_folder(folder, "c")


def expect(codes, ends):
    """The exit codes, and else all that is known of the ends."""
    said = [(end.message, end.events[-3:], end.errors[-2000:]) for end in ends]
    assert [end.code for end in ends] == codes, said


def weights(folder):
    return kill.published_weights((folder / "model.keras").read_bytes())


def losses(folder):
    with (folder / "history.csv").open() as lines:
        return [float(epoch["loss"]) for epoch in csv.DictReader(lines)]


def resumed(events):
    return [event["exact"] for event in events if event["event.name"] == "run.resumed"]


def test_two_hosts_publish_what_one_does(tmp_path, corners, whole):
    done = mlp_job("train", *OPTIONS, "--data", corners, "--store", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder, manifest = whole
    assert (manifest["device"]["count"], manifest["device"]["hosts"]) == (2, 2)
    assert json.loads((folder / "metrics.json").read_text())["speedup"]["devices"] == 2
    assert "2 devices train on" in (folder / "report.html").read_text()
    alone, _ = version_folder(tmp_path, "c")
    assert losses(folder)[:5] == pytest.approx(losses(alone)[:5], abs=1e-4)  # rounding grows later


def test_sigterm_on_one_saves_for_all_and_each_number_of_hosts_goes_on(tmp_path, corners, whole):
    store, other = tmp_path / "store", tmp_path / "other"
    options = (*OPTIONS, "--data", corners, "--store")
    stop = Signal(worker=1, number=signal.SIGTERM, event="epoch.ended")
    ends = hosts.train(2, tmp_path, *options, store, kill=stop)
    expect([143, 143], ends)
    assert ends[0].said["checkpoint"]["epoch"] >= 1
    assert ends[0].events[-2]["event.name"] == "checkpoint.saved"
    shutil.copytree(store, other)

    # Worker 0 is killed when training is done; it then publishes alone, and who comes later finds
    # that there is nothing left to do.
    lost = Signal(worker=0, number=signal.SIGKILL, event="publishing.started")
    ends = hosts.train(2, tmp_path, *options, store, kill=lost)
    expect([-signal.SIGKILL, 75], ends)
    assert resumed(ends[0].events) == [True]
    for without in (1, 0):
        soon = "--peer-timeout=1"
        expect([0], hosts.train(2, tmp_path, *options, store, soon, without=[without]))
    (manifest,) = (store / "c/versions").glob("*/manifest.json")  # a claimed number may be lost
    assert weights(next(manifest.parent.glob("*/model.keras")).parent) == weights(whole[0])

    done = mlp_job("train", *options, other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert resumed(map(json.loads, done.stdout.splitlines())) == [False]
    assert version_folder(other, "c")[1]["exact"] is False


def test_three_hosts_stream_from_s3_and_survive_the_loss_of_one(tmp_path, corners, s3_uri):
    options = (*OPTIONS, "--data", corners, "--feed=stream", "--store")
    expect([0, 0, 0], hosts.train(3, tmp_path, *options, f"{s3_uri}/whole"))
    lost = Signal(worker=2, number=signal.SIGKILL, event="epoch.ended")
    ends = hosts.train(3, tmp_path, *options, f"{s3_uri}/broken", kill=lost)
    expect([75, 75, -signal.SIGKILL], ends)
    ends = hosts.train(3, tmp_path, *options, f"{s3_uri}/broken")
    expect([0, 0, 0], ends)
    assert resumed(ends[0].events) == [True]
    published = []
    for name in ("whole", "broken"):
        store = open_store(f"{s3_uri}/{name}")
        (key,) = (each.key for each in store.list("c") if each.key.endswith("/model.keras"))
        published.append(kill.published_weights(store.read(key)[0]))
    assert published[0] == published[1]


def test_a_host_that_hangs_ends_all(tmp_path, corners):
    asleep = Signal(worker=1, number=signal.SIGSTOP, event="epoch.ended")
    options = ("--epochs=500", "--peer-timeout=20", "--data", corners, "--store", tmp_path)
    first, _ = hosts.train(2, tmp_path, *OPTIONS, *options, kill=asleep)
    assert first.code == 75, first
    assert "no sign of life" in first.message


def test_a_host_whose_main_thread_hangs_ends_all(tmp_path, corners):
    hung = Signal(worker=1, number=None, event="epoch.ended")
    options = ("--epochs=500", "--peer-timeout=20", "--data", corners, "--store", tmp_path)
    ends = hosts.train(2, tmp_path, *OPTIONS, *options, kill=hung)
    expect([75, 75], ends)
    reasons = "end a block of steps within", "use its processor"  # whichever is seen first
    assert all(any(reason in end.message for reason in reasons) for end in ends)
    assert any("most recent call first" in end.errors for end in ends)


# Before training, and in the first block of steps.
@pytest.mark.parametrize("event", ["device.ready", "network.planned"])
def test_a_host_whose_main_thread_hangs_early_ends_all_that_wait_for_it(tmp_path, corners, event):
    hung = Signal(worker=1, number=None, event=event)
    options = ("--peer-timeout=20", "--data", corners, "--store", tmp_path)
    ends = hosts.train(2, tmp_path, *OPTIONS, *options, kill=hung)
    expect([75, 75], ends)
    assert "none that did for 16 s" in ends[0].message, ends[0]
    assert any("most recent call first" in end.errors for end in ends)


def test_a_host_whose_store_is_silent_does_not_hang(tmp_path, corners):
    def with_store(number, addresses):
        endpoint = "http://{}:{}".format(*silent.getsockname())
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
        return hosts.tensorflow(number, addresses) | keys | {"AWS_ENDPOINT_URL_S3": endpoint}

    each = ["--data", corners], ["--data", "s3://bucket/corners.npz"]
    options = ("--peer-timeout=12", "--store-timeout=25", "--store", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ends = hosts.train(2, tmp_path, *OPTIONS, *options, each=each, environment=with_store)
    expect([75, 74], ends)  # as the store's time says, which is longer than the others'


@pytest.mark.parametrize(("differs", "code"), [("seed 0 and 5", 2), ("digest", 65)])
def test_hosts_that_disagree_all_end_with_what_differs(tmp_path, corners, differs, code):
    changed = tmp_path / "changed.npz"
    arrays = dict(np.load(corners))
    np.savez(changed, **arrays | {"x_train": arrays["x_train"] ^ 1})
    own = ["--data", corners], ["--data", corners if code == 2 else changed]
    more = [], (["--seed=5"] if code == 2 else [])
    each = [[*one, *two] for one, two in zip(own, more, strict=True)]
    ends = hosts.train(2, tmp_path, *OPTIONS, "--store", tmp_path, each=each)
    expect([code, code], ends)
    assert all(differs in end.message for end in ends)


@pytest.mark.parametrize("absent", [0, 1])
def test_a_host_that_is_not_there(tmp_path, corners, absent):
    options = ("--data", corners, "--store", tmp_path, "--peer-timeout=2")
    (end,) = hosts.train(2, tmp_path, *OPTIONS, *options, without=[absent])
    assert end.code == 75, end
    assert f"worker {absent} at 127.0.0.1:" in end.message

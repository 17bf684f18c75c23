"""The real job on bad days: signals in each phase, and a store that fails in every way."""

import json
import os
import random
import signal
import subprocess

import numpy as np
import pytest
import safetensors.numpy
import tiny
from kill import EVENT, PROGRAM, Bench, Kill, expect_promises
from proxy import Fault

from job.training.checkpoint import PATIENCE

TERM = signal.SIGTERM
IMPATIENT = {"AWS_MAX_ATTEMPTS": "1"}

pytestmark = pytest.mark.timeout(1200)  # many processes, one after the other


def epochs(ended):
    return [event["epoch"] for event in ended.events if event[EVENT] == "epoch.ended"]


@pytest.fixture(autouse=True)
def _good_weather(bench):
    yield
    bench.proxy.fault = lambda request: Fault.NONE
    bench.proxy.delay = 0.0
    bench.proxy.released.set()


PHASES = {
    "check store": Kill(signal=TERM, event="run.started"),
    "import": Kill(signal=TERM, event="run.started", delay=0.8),
    "build": Kill(signal=TERM, event="data.loaded"),
    "compile": Kill(signal=TERM, event="data.loaded", delay=0.4),
    "train": Kill(signal=TERM, event="epoch.ended", count=2),
    "export": Kill(signal=TERM, event="evaluated"),
    "compare": Kill(
        signal=TERM, event="evaluated", method="GET", put="/champion.json", fault=Fault.STALL
    ),
    "report": Kill(signal=TERM, event="verdict", delay=0.05),
    "publish": Kill(signal=TERM, put="/README.md", fault=Fault.STALL),
}

PLACES = {
    "build": ("data.loaded", "epoch.ended"),
    "compile": ("data.loaded", "epoch.ended"),
    "export": ("evaluated", "verdict"),
    "compare": ("evaluated", "verdict"),
    "report": ("verdict", "published"),
}
"""What has been told when a phase is stopped, and what has not."""


def test_sigterm_ends_each_phase_within_ten_seconds(bench):
    for phase, kill in PHASES.items():
        ended = bench.train("phases", kill)
        assert ended.code == 143, (phase, ended)
        assert ended.seconds < 10, (phase, ended)
        assert ended.said["run_id"] == "phases", phase
        assert "Traceback" not in ended.errors, (phase, ended)
        if phase in PLACES:
            after, before = PLACES[phase]
            told = [event[EVENT] for event in ended.events]
            assert after in told, (phase, told)
            assert before not in told, (phase, told)
        if phase in ("train", "export", "compare", "report", "publish"):
            where = ended.said["checkpoint"]
            assert where["key"].startswith("corners/runs/phases/checkpoint-"), phase
            assert where["epoch"] >= 2, phase
    ended = bench.train("phases")
    assert ended.code == 0, ended
    expect_promises(bench, "phases")


def other(bench, folder, name, train, test, *options):
    """The same store and proxy for a job whose phases last as long as a test needs."""
    train, test = tiny.split(train, 0), tiny.split(test, 1)
    data = folder / f"{name}.npz"
    np.savez(data, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    options = (f"--data={data}", "--epochs=3", "--device=cpu", "--margin=0.5", *options)
    return Bench(bench.proxy, bench.client, f"s3://{bench.bucket}/kills", name, folder, options)


def test_sigterm_in_validation(bench, tmp_path):
    sizes = ("--hidden=1000 1000", "--validation-split=0.996", "--batch-size=100")
    here = other(bench, tmp_path, "validated", 100_000, 200, *sizes)  # most of an epoch
    ended = here.train("stopped", Kill(signal=TERM, event="epoch.ended", delay=0.2))
    assert ended.code == 143, ended
    assert ended.seconds < 10, ended
    (loaded,) = (event for event in ended.events if event[EVENT] == "data.loaded")
    where = ended.said["checkpoint"]
    assert (where["epoch"], where["step"]) == (1, -(-loaded["rows"]["train"] // 100)), ended
    for run_id in ("stopped", "whole"):
        ended = here.train(run_id)
        assert ended.code == 0, ended
    assert here.bits("stopped") == here.bits("whole")


def test_sigterm_in_evaluation(bench, tmp_path):
    here = other(bench, tmp_path, "evaluated", 2000, 500_000)
    once = "--checkpoint-every=1000"  # at its end
    kill = Kill(signal=TERM, event="checkpoint.saved", delay=0.05)
    ended = here.train("stopped", kill, once)
    assert ended.code == 143, ended
    assert ended.seconds < 10, ended
    told = [event[EVENT] for event in ended.events]
    assert "checkpoint.saved" in told, told
    assert "evaluated" not in told, told
    assert ended.said["checkpoint"]["epoch"] == 3, ended
    resumed, whole = here.train("stopped", None, once), here.train("whole", None, once)
    assert (resumed.code, whole.code) == (0, 0), (resumed, whole)
    assert epochs(resumed) == []
    assert here.bits("stopped") == here.bits("whole")


def test_sigterm_while_a_checkpoint_stalls(bench):
    ended = bench.train("stalled", Kill(signal=TERM, put="/checkpoint-b", fault=Fault.STALL))
    assert (ended.code, ended.said["error"]) == (143, "Preempted"), ended
    assert ended.seconds < 10


def test_a_bad_day(bench):
    chance, suffered = random.Random(0), []

    def fault(request):
        if chance.random() > 0.25:
            return Fault.NONE
        kinds = [Fault.CUT, Fault.SWALLOW, Fault.TRUNCATE, Fault.BUSY]
        suffered.append(chance.choice(kinds))
        return suffered[-1]

    bench.proxy.fault = fault
    ended = bench.train("bad-day")
    bench.proxy.fault = lambda request: Fault.NONE
    assert ended.code == 0, ended
    assert len(suffered) > 8, suffered
    expect_promises(bench, "bad-day")


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.EXPIRED])
def test_a_store_that_fails_in_mid_run_costs_no_training(fault, bench):
    run_id = f"gone-{fault.name}"
    gone = []

    def from_the_first_checkpoint_on(request):
        if request.method == "PUT" and "/checkpoint-" in request.path:
            gone.append(request)
        return fault if gone else Fault.NONE

    bench.proxy.fault = from_the_first_checkpoint_on
    ended = bench.train(run_id, None, "--store-timeout=2", **IMPATIENT)
    assert ended.code == 74, ended
    assert f"--run-id {run_id}" in ended.said["hint"]
    spare = ended.said["checkpoint"]
    assert spare["key"].startswith(f"{bench.folder}/mlp-job-")
    assert "store.failed" in [event[EVENT] for event in ended.events]

    bench.proxy.fault = lambda request: Fault.NONE
    ended = bench.train(run_id)
    assert (ended.code, epochs(ended)) == (0, []), ended
    expect_promises(bench, run_id)
    assert not list(bench.folder.glob("mlp-job-*/**/checkpoint-*"))


def test_a_run_that_goes_on_with_fewer_cores_says_so(bench):
    ended = bench.train("moved", Kill(signal=TERM, event="epoch.ended", count=2))
    assert ended.code == 143, ended
    bench.enter = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    try:
        ended = bench.train("moved", Kill(signal=TERM, event="epoch.ended", count=1))
        again = bench.train("moved")
    finally:
        bench.enter = ()
    assert (ended.code, again.code) == (143, 0), (ended, again)
    told = [e["exact"] for e in (*ended.events, *again.events) if e[EVENT] == "run.resumed"]
    assert told == [len(os.sched_getaffinity(0)) == 1] * 2, told


def test_a_store_that_is_gone_at_the_start(bench):
    left = [4]

    def fault(_):
        left[0] -= 1
        return Fault.CUT if left[0] >= 0 else Fault.NONE

    bench.proxy.fault = fault
    ended = bench.train("late-store", None, "--store-timeout=60", **IMPATIENT)
    assert ended.code == 0, ended
    assert [event[EVENT] for event in ended.events].count("store.failed") >= 1, ended
    expect_promises(bench, "late-store")


def test_a_checkpoint_that_cannot_be_read_for_a_while(bench):
    ended = bench.train("reread", Kill(signal=TERM, event="epoch.ended", count=3))
    assert ended.code == 143, ended
    left = [4]

    def fault(request):
        read = request.method == "GET" and "/checkpoint-" in request.path
        left[0] -= read
        return Fault.EXPIRED if read and left[0] >= 0 else Fault.NONE

    bench.proxy.fault = fault
    ended = bench.train("reread", None, **IMPATIENT)
    assert ended.code == 0, ended
    assert epochs(ended)[0] > 1, ended
    expect_promises(bench, "reread")


def test_a_store_that_comes_back_in_time(bench):
    left = [6]

    def fault(request):
        if request.path.endswith("/claim.json") and left[0]:
            left[0] -= 1
            return Fault.CUT
        return Fault.NONE

    bench.proxy.fault = fault
    ended = bench.train("back", None, "--store-timeout=60", **IMPATIENT)
    assert (ended.code, left) == (0, [0]), ended
    expect_promises(bench, "back")


def test_data_that_cannot_be_read_for_a_while(bench):
    body = (bench.folder / "data.npz").read_bytes()
    bench.client.put_object(Bucket=bench.bucket, Key="read/data.npz", Body=body)
    data = f"--data=s3://{bench.bucket}/read/data.npz"
    left = [9]

    def fault(request):
        read = request.method == "GET" and request.path.partition("?")[0].endswith("/data.npz")
        left[0] -= read
        return Fault.CUT if read and left[0] >= 0 else Fault.NONE

    bench.proxy.fault = fault
    ended = bench.train("read", None, data, "--store-timeout=0", **IMPATIENT)
    assert (ended.code, ended.said["error"]) == (74, "StoreError"), ended
    kill = Kill(signal=TERM, put="/data.npz", method="GET", fault=Fault.STALL)
    ended = bench.train("read", kill, data)
    assert ended.code == 143, ended
    assert ended.seconds < 10, ended
    left[0] = 3
    bench.proxy.fault = fault
    ended = bench.train("read", None, data, **IMPATIENT)
    assert ended.code == 0, ended
    assert [event[EVENT] for event in ended.events].count("store.failed") >= 3, ended

    expect_promises(bench, "read")


def test_a_slow_store(bench):
    bench.proxy.delay = 0.3
    ended = bench.train("slow")
    assert ended.code == 0, ended
    expect_promises(bench, "slow")


WRITES = ("/checkpoint-b", "/claim.json", "/version", "/model.keras", "/history.csv",
          "/manifest.json", "/champion.json")  # fmt: skip


def test_each_kind_of_write_stalls_once(bench):
    left = list(WRITES)

    def fault(request):
        for write in left:
            if request.method == "PUT" and request.path.partition("?")[0].endswith(write):
                left.remove(write)
                return Fault.STALL
        return Fault.NONE

    bench.proxy.released.clear()
    bench.proxy.fault = fault
    ended = bench.train("stalls", None, "--store-timeout=40")
    assert (ended.code, left) == (0, []), ended
    assert "store.failed" not in [event[EVENT] for event in ended.events]
    expect_promises(bench, "stalls")


def test_a_store_that_stalls_for_good_ends_the_job_in_time(bench):
    def stall(_process):
        bench.proxy.released.clear()
        bench.proxy.fault = lambda request: Fault.STALL

    budget, beyond = 1, 10
    in_training = Kill(event="epoch.ended", count=12, meanwhile=stall)
    in_uploading = Kill(put="/model.keras", fault=Fault.STALL, meanwhile=stall)
    evaluating, ending = 30, 5
    for kill, rest in ((in_training, PATIENCE + evaluating), (in_uploading, ending)):
        ended = bench.train("stalled-for-good", kill, f"--store-timeout={budget}")
        assert (ended.code, ended.said["error"]) == (74, "StoreError"), ended
        assert "--run-id stalled-for-good resumes" in ended.said["hint"]
        assert "timeout" in ended.said["message"].lower()
        assert ended.seconds < budget + beyond + rest, ended
        bench.proxy.fault = lambda request: Fault.NONE
    ended = bench.train("stalled-for-good")
    assert (ended.code, epochs(ended)) == (0, []), ended
    expect_promises(bench, "stalled-for-good")


def test_a_run_that_diverges_leaves_a_finite_checkpoint(bench):
    before = bench.keys("versions/"), bench.pointer()
    wild = ("--hidden=64 64 64 64", "--learning-rate=1e4", "--checkpoint-every=0")
    ended = bench.train("diverged", None, *wild)
    assert (ended.code, ended.said["error"]) == (70, "TrainingDiverged"), ended
    assert "Lower --learning-rate" in ended.said["hint"]
    assert (bench.keys("versions/"), bench.pointer()) == before
    slots = [key for key in bench.keys("runs/diverged/") if "/checkpoint-" in key]
    assert f"{bench.name}/{slots[-1]}" == ended.said["checkpoint"]["key"]
    for slot in slots:
        arrays = safetensors.numpy.load(bench.get(slot))
        assert all(np.isfinite(array).all() for array in arrays.values()), slot


def test_a_used_run_id_is_not_for_other_options_or_other_data(bench, tmp_path):
    ended = bench.train("whole", None, "--epochs=13")
    assert ended.code == 2, ended
    assert "--run-id" in ended.said["message"]
    train = tiny.split(2000, 5)
    np.savez(tmp_path / "x.npz", x_train=train.x, y_train=train.y, x_test=train.x, y_test=train.y)
    data = next(option for option in bench.options if option.startswith("--data="))
    kept = (bench.folder / "data.npz").read_bytes()
    try:
        (bench.folder / "data.npz").write_bytes((tmp_path / "x.npz").read_bytes())
        ended = bench.train("whole", None, data)
    finally:
        (bench.folder / "data.npz").write_bytes(kept)
    assert ended.code == 2, ended
    assert bench.train("whole").code == 0
    assert bench.moves("whole") == 1


def test_a_store_without_conditions_is_refused(bench):
    bench.proxy.fault = lambda request: Fault.UNCONDITIONAL
    assert bench.train("unconditional").code == 77
    bench.proxy.fault = lambda request: Fault.NONE
    assert bench.keys("runs/unconditional") == []


def test_the_doctor_proves_exact_resume_of_a_table(tmp_path):
    chance, table = random.Random(0), tmp_path / "table.csv"
    rows = [(chance.gauss(), chance.choice("abc"), chance.random()) for _ in range(3000)]
    lines = [f"{x:.3f},{kind},{noise},{'yn'[x > 0]}" for x, kind, noise in rows]
    table.write_text("\n".join(["x,a kind,noise,answer", *lines]))
    done = subprocess.run(
        [
            PROGRAM,
            "doctor",
            "--resume",
            f"--data={table}",
            "--name=table",
            "--label=answer",
            "--exclude=noise",
            "--model=mlp",
            "--category='a kind'",
            "--test-split=0.3",
            "--epochs=40",
            "--batch-size=20",
            "--device=cpu",
            "--no-xla",
            f"--store={tmp_path / 'store'}",
            "--json",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    proof = json.loads(done.stdout)["checks"][-1]
    assert (proof["name"], proof["ok"]) == ("resume", True)
    assert "same bits" in proof["found"]
    assert not list(tmp_path.glob("mlp-job-*/*"))

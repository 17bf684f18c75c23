"""The real job on bad days: signals in each phase, and a store that fails in every way."""

import json
import os
import random
import signal
import subprocess

import numpy as np
import pytest
import tiny
from kill import EVENT, PROGRAM, Kill, expect_promises
from proxy import Fault

TERM = signal.SIGTERM
IMPATIENT = {"AWS_MAX_ATTEMPTS": "1"}

pytestmark = pytest.mark.timeout(1200)  # many processes, one after the other


def epochs(ended):
    return [event["epoch"] for event in ended.events if event[EVENT] == "epoch.ended"]


@pytest.fixture(autouse=True)
def _good_weather(bench):
    yield
    bench.proxy.fault = lambda request: Fault.NONE


PHASES = {
    "check store": Kill(signal=TERM, event="run.started"),
    "import": Kill(signal=TERM, event="run.started", delay=0.8),
    "build": Kill(signal=TERM, event="data.loaded"),
    "train": Kill(signal=TERM, event="epoch.ended", count=2),
    "export": Kill(signal=TERM, event="evaluated", delay=0.05),
    "report": Kill(signal=TERM, event="verdict", delay=0.05),
    "publish": Kill(signal=TERM, put="/README.md", fault=Fault.STALL),
}


def test_sigterm_ends_each_phase_within_ten_seconds(bench):
    for phase, kill in PHASES.items():
        ended = bench.train("phases", kill)
        assert ended.code == 143, (phase, ended)
        assert ended.seconds < 10, (phase, ended)
        assert ended.said["run_id"] == "phases", phase
        assert "Traceback" not in ended.errors, (phase, ended)
        if phase in ("train", "export", "report", "publish"):
            where = ended.said["checkpoint"]
            assert where["key"].startswith("corners/runs/phases/checkpoint-"), phase
            assert where["epoch"] >= 2, phase
    ended = bench.train("phases")
    assert ended.code == 0, ended
    expect_promises(bench, "phases")


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

    def after_the_first_write(request):
        if request.method == "PUT" and "/.probe/" not in request.path:
            gone.append(request)
        return fault if gone else Fault.NONE

    bench.proxy.fault = after_the_first_write
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


def test_the_doctor_proves_exact_resume(tmp_path):
    done = subprocess.run(
        [
            PROGRAM,
            "doctor",
            "--resume",
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

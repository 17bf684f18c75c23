"""Jobs on several devices of one machine: virtual ones, of the CPU."""

import json
import os

import pytest
from program import QUICK, events, failure, mlp_job, version_folder

TRAIN = ("train", *QUICK, "--no-xla")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core makes one device")
def test_two_devices_publish_what_one_does(tmp_path, corners):
    accuracy = {}
    for devices in (1, 2):
        store = tmp_path / str(devices)
        done = mlp_job(
            *TRAIN, f"--devices={devices}", "--data", corners, "--store", store, "--name=c"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        log = {event["event.name"]: event for event in events(done.stdout)}
        folder, manifest = version_folder(store, "c")
        assert manifest["device"]["count"] == devices
        metrics = json.loads((folder / "metrics.json").read_text())
        accuracy[devices] = metrics["accuracy"]
        assert ("training.sped_up" in log) == ("speedup" in metrics) == (devices == 2)
    assert accuracy[1] == pytest.approx(accuracy[2], abs=0.01)
    assert log["training.sped_up"]["devices"] == 2
    assert "efficiency" in log["training.sped_up"]["message"]
    report = (folder / "report.html").read_text()
    assert "2 devices train on" in report


@pytest.mark.parametrize(
    ("options", "code", "received"),
    [
        (("--device=cpu", "--devices=4000"), 69, "Received: 4000."),
        (("--device=gpu", "--devices=4000"), 69, "4000 GPUs"),
        (("--devices=4000",), 69, "4000 GPUs"),
        (("--devices=0",), 2, "Received: '0'."),
        (("--devices=some",), 2, "Received: 'some'."),
        (("--device=cpu", "--devices=2", "--batch-size=1"), 2, "Received: 1."),
        (("--device=cpu", "--devices=2", "--precision=mixed_float16"), 2, "mixed_float16"),
    ],
)
def test_devices_that_cannot_be_had(tmp_path, corners, options, code, received):
    done = mlp_job("train", "--data", corners, "--store", tmp_path, "--name=c", *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert received in failure(done)["message"]
    assert not (tmp_path / "c/champion.json").exists()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core makes one device")
def test_doctor_proves_all_devices(tmp_path, corners):
    where = ("--device=cpu", "--data", corners, "--store", tmp_path, "--name=c")
    assert "2 × " in mlp_job("doctor", *where, "--devices=2").stdout
    assert mlp_job("doctor", *where, "--devices=4000").returncode == 69

"""A new job resumes the unfinished run of an earlier one: one run, one version, the same bits."""

import json
from concurrent.futures import ThreadPoolExecutor
from signal import SIGKILL, SIGTERM

import pytest
from kill import EVENT, FolderBench, Kill, expect_promises
from proxy import Fault

pytestmark = pytest.mark.timeout(600)  # several processes, one after the other

MID_TRAINING = {"event": "epoch.ended", "count": 4}


@pytest.fixture
def store(bench, tmp_path):
    """An empty store in a folder."""
    return FolderBench(bench, tmp_path / "store", tmp_path / "store", ())


def job(store, name, kill=None, *more, **env):
    """One pod of the Job with this name and uid."""
    return store.train("", kill, f"--default-run-id={name}", "--resume-unfinished", *more, **env)


def told(ended):
    return [event[EVENT] for event in ended.events]


def record(store, run_id):
    return json.loads(store.get(f"runs/{run_id}/run.json"))


def expect_own_run(store, ended, run_id):
    """The job began its own run, from its first epoch."""
    assert ended.code == 0, ended
    assert "run.continued" not in told(ended)
    assert "run.resumed" not in told(ended)
    assert len(store.versions(run_id)) == 1
    assert record(store, run_id)["resumes"] is None


def test_the_next_job_resumes_what_was_killed_and_its_retry_finds_it(store):
    assert job(store, "job-1", Kill(signal=SIGTERM, **MID_TRAINING)).code == 143
    ended = job(store, "job-2", Kill(signal=SIGKILL, event="epoch.ended", count=2))
    assert ended.code == -SIGKILL, ended
    assert "run.continued" in told(ended)
    ended = job(store, "job-3")
    assert ended.code == 0, ended
    assert {"run.continued", "run.resumed"} <= set(told(ended))
    assert ended.said["run_id"] == "job-1"
    expect_promises(store, "job-1")

    before = store.keys("versions/"), store.pointer()
    ended = job(store, "job-2")  # another pod of a Job that has resumed it
    assert (ended.code, ended.said["run_id"]) == (0, "job-1"), ended
    assert "epoch.ended" not in told(ended)
    assert (store.keys("versions/"), store.pointer()) == before
    expect_own_run(store, job(store, "job-4"), "job-4")  # nothing is left to resume


def test_a_run_whose_store_failed_is_published_by_the_next_job(bench):
    down = []

    def from_the_first_upload_on(request):
        if request.method == "PUT" and request.path.endswith("/model.keras"):
            down.append(request)
        return Fault.CUT if down else Fault.NONE

    bench.proxy.fault = from_the_first_upload_on
    impatient = {"AWS_MAX_ATTEMPTS": "1"}
    ended = job(bench, "down-1", None, "--store-timeout=2", "--seed=1", **impatient)
    bench.proxy.fault = lambda request: Fault.NONE
    assert ended.code == 74, ended
    ended = job(bench, "down-2", None, "--seed=1")
    assert ended.code == 0, ended
    assert "run.continued" in told(ended)
    assert "epoch.ended" not in told(ended)
    assert len(bench.versions("down-1")) == bench.moves("down-1") == 1
    assert bench.versions("down-2") == []


def test_two_jobs_that_resume_one_run_at_once_make_one_version(store):
    assert job(store, "job-1", Kill(signal=SIGTERM, **MID_TRAINING)).code == 143
    with ThreadPoolExecutor() as pods:
        ended = list(pods.map(lambda name: job(store, name), ["job-2", "job-3"]))
    assert [each.code for each in ended] == [0, 0], ended
    assert [each.said["run_id"] for each in ended] == ["job-1", "job-1"]
    expect_promises(store, "job-1")
    assert store.versions("job-2") == store.versions("job-3") == []


def test_only_the_same_run_is_resumed_and_a_run_id_wins(store):
    assert job(store, "job-1", Kill(signal=SIGTERM, **MID_TRAINING)).code == 143
    expect_own_run(store, job(store, "job-2", None, "--seed=1"), "job-2")
    named = store.train("named", None, "--default-run-id=job-3", "--resume-unfinished")
    expect_own_run(store, named, "named")
    ended = store.train("", None, MLP_JOB_RUN_ID="job-1", MLP_JOB_DEFAULT_RUN_ID="job-4")
    assert (ended.code, ended.said["run_id"]) == (0, "job-1"), ended
    assert "run.resumed" in told(ended)


def test_a_run_that_diverged_is_never_resumed(store):
    wild = ("--hidden=64 64 64 64", "--learning-rate=1e4", "--checkpoint-every=0")
    ended = job(store, "wild-1", None, *wild)
    assert ended.code == 70, ended
    assert any("/checkpoint-" in key for key in store.keys("runs/wild-1/"))
    assert record(store, "wild-1")["failed"] == 70
    ended = job(store, "wild-2", None, *wild)
    assert ended.code == 70, ended
    assert "run.continued" not in told(ended)
    assert ended.said["run_id"] == "wild-2"

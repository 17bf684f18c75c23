"""Two real jobs at once: two pods of one run, and one that sleeps at a write and wakes up late."""

from concurrent.futures import ThreadPoolExecutor
from signal import SIGCONT, SIGSTOP

import pytest
from kill import Kill, expect_promises
from proxy import Fault

pytestmark = pytest.mark.timeout(600)  # several processes, one after the other


def asleep_at(write, bench, s3, run_id, other_id, *more):
    """A job falls asleep at a write; another one runs from start to end; then the write arrives."""
    others = []

    def meanwhile(process):
        try:
            others.append(
                bench.train(other_id, None, *more, **s3.env)
            )  # past the proxy, which waits
        finally:
            process.send_signal(SIGCONT)

    kill = Kill(signal=SIGSTOP, put=write, fault=Fault.NONE, meanwhile=meanwhile)
    sleeper = bench.train(run_id, kill, *more)
    (other,) = others
    return sleeper, other


@pytest.mark.parametrize(
    "write", ["/claim.json", "/version", "/config.json", "/manifest.json", "/champion.json"]
)
def test_a_pod_that_wakes_up_when_its_retry_has_published(write, bench, s3):
    run_id = f"stale-{write[1:-5]}"
    # A container that is started again in its pod has the same name as before.
    sleeper, retry = asleep_at(write, bench, s3, run_id, run_id, "--attempt=pod-0")
    assert (sleeper.code, retry.code) == (0, 0), (sleeper, retry)
    assert sleeper.said["version"] == retry.said["version"]
    expect_promises(bench, run_id)


def test_an_older_version_that_comes_late_does_not_reign(bench, s3):
    sleeper, newer = asleep_at("/champion.json", bench, s3, "older", "newer")
    assert (sleeper.code, newer.code) == (3, 0), (sleeper, newer)
    assert bench.versions("older") < bench.versions("newer") == [bench.pointer()["version"]]
    assert bench.moves("older") == 0
    expect_promises(bench, "newer")


def test_two_pods_of_one_run_at_once(bench):
    with ThreadPoolExecutor() as pods:
        ended = list(pods.map(bench.train, ["twins", "twins"]))
    assert [pod.code for pod in ended] == [0, 0], ended
    expect_promises(bench, "twins")

"""A random one of two hosts is killed, again and again, at random moments; then nothing is lost.

`KILLS=300 pytest tests/jobs/test_hosts_kills.py` tries that many; a message names the run that
failed, and `KILLS_RUN=7` tries that one alone.
"""

import os
import random
import signal
from dataclasses import replace

import hosts
import pytest
from hosts import Signal
from kill import Bench, expect_promises
from program import QUICK

TERM, KILL = signal.SIGTERM, signal.SIGKILL
OPTIONS = (
    *QUICK, "--batch-size=100", "--epochs=20", "--no-xla", "--dropout=0.2", "--checkpoint-every=0",
    "--margin=0.5", "--peer-timeout=30",
)  # fmt: skip
MOMENTS = (
    "run.started", "peers.met", "device.ready", "network.planned", "evaluated",
    "publishing.started", "published",
)  # fmt: skip

pytestmark = pytest.mark.timeout(0)  # as long as it takes


def any_kill(chance):
    moment = "epoch.ended" if chance.random() < 0.5 else chance.choice(MOMENTS)
    return Signal(
        worker=chance.randrange(2),
        number=chance.choice((TERM, KILL, KILL)),
        event=moment,
        delay=chance.random() * 1.5,
    )


def killed(bench, folder, number):
    """Kills the hosts of a run, lets them end, and counts the kills that came in time."""
    chance, run_id, count = random.Random(number), f"run-{number}", 0
    before = set(bench.keys("versions/"))
    for kill in [*(any_kill(chance) for _ in range(chance.randint(1, 4))), None]:
        ends = hosts.train(2, folder, *bench.options, f"--run-id={run_id}", kill=kill)
        bench.look()
        codes = [end.code for end in ends]
        told = (
            f"KILLS_RUN={number}, {kill}: {[replace(end, events=end.events[-3:]) for end in ends]}"
        )
        own = {TERM: 143, KILL: -KILL}.get(kill and kill.number, 0)
        assert set(codes) <= {0, own, *((75,) if kill else ())}, told
        assert all("Traceback" not in end.errors for end in ends), told
        assert len(bench.versions(run_id)) <= 1, told
        if codes[0] == 0:
            break
        count += 1
    assert codes[0] == 0, told
    expect_promises(bench, run_id)
    assert before <= set(bench.keys("versions/"))
    return count


def test_any_of_two_hosts_killed_as_often_as_asked(tmp_path, corners, s3_uri, s3):
    uri = f"{s3_uri}/hosts"
    bench = Bench(None, s3.client(), uri, "c", tmp_path, [*OPTIONS, f"--data={corners}"])
    ends = hosts.train(2, tmp_path, *bench.options, "--run-id=whole")
    assert [end.code for end in ends] == [0, 0], ends
    bench.whole = bench.bits("whole")
    if alone := os.environ.get("KILLS_RUN"):
        killed(bench, tmp_path, int(alone))
        return
    left, done, runs = int(os.environ.get("KILLS", "6")), 0, 0
    while done < left:
        done += killed(bench, tmp_path, runs)
        runs += 1
        print(f"{done} kills of hosts in {runs} runs, {bench.looked} looks", flush=True)

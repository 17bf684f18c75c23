"""The three promises, from outside: the real job is killed, started again and looked at.

`KILLS=2000 pytest tests/test_kills.py` tries that many more, at random moments and writes.
"""

import os
import random
import signal

import kill
import numpy as np
import proxy as proxies
import pytest
import seaweed
import tiny
from kill import Kill
from proxy import Fault

TERM, KILL = signal.SIGTERM, signal.SIGKILL
OPTIONS = (
    "--epochs=30", "--hidden=64", "--batch-size=5", "--dropout=0.2", "--patience=25",
    "--device=cpu", "--checkpoint-every=0.05",
)  # fmt: skip
WRITES = ("/claim.json", "/version", "/model.keras", "/manifest.json", "/champion.json")


@pytest.fixture(scope="module")
def bench(s3: seaweed.SeaweedFS, tmp_path_factory: pytest.TempPathFactory):
    """A store with a champion from a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("kills")
    train, test = tiny.split(2000, 0), tiny.split(200, 1)
    np.savez(folder / "data.npz", x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    with proxies.serve(s3.env) as proxy:
        bench = kill.Bench(
            proxy, s3.client(), f"s3://{s3.bucket}/kills", "corners", folder,
            [*OPTIONS, f"--data={folder / 'data.npz'}"],
        )  # fmt: skip
        whole = bench.train("whole")
        assert whole.code == 0, whole.errors
        bench.whole = bench.bits("whole")
        yield bench


def expect_promises(bench: kill.Bench, run_id: str) -> None:
    bench.look()
    assert len(bench.versions(run_id)) == 1
    assert bench.moves(run_id) == 1
    assert bench.bits(run_id) == bench.whole


def killed(bench: kill.Bench, run_id: str, kills: list[Kill]) -> int:
    """Kills one run again and again, lets it end, and counts the kills that came in time."""
    count = 0
    for each in kills:
        ended = bench.train(run_id, each)
        bench.look()
        assert len(bench.versions(run_id)) <= 1
        if ended.code == 0:
            break
        expected = 143 if each.signal == TERM else -KILL
        assert ended.code == expected, f"{each}: {ended}"
        assert "Traceback" not in ended.errors, f"{each}: {ended}"
        if each.signal == TERM:
            assert ended.seconds < 10, f"{each}: {ended}"
            assert ended.said["run_id"] == run_id, f"{each}: {ended.said}"
        count += 1
    else:
        ended = bench.train(run_id)
    assert ended.code == 0, ended
    expect_promises(bench, run_id)
    return count


def test_killed_at_each_write_of_publishing(bench):
    kills = [
        Kill(signal=KILL, put=write, fault=fault)
        for write in WRITES
        for fault in (Fault.CUT, Fault.SWALLOW)
    ]
    # The claim is written once a run: what was done is not done again.
    assert killed(bench, "writes", kills) == len(kills)


def test_killed_at_random_moments_of_training(bench):
    chance = random.Random(0)
    kills = [
        Kill(signal=number, event="epoch.ended", count=chance.randint(1, 6), delay=chance.random() / 9)
        for number in (KILL, TERM, KILL)
    ]
    assert killed(bench, "training", kills) == len(kills)


def test_killed_as_often_as_asked(bench):
    chance = random.Random(1)
    left = int(os.environ.get("KILLS", "0"))
    done = runs = 0
    while done < left:
        kills = [any_kill(chance) for _ in range(chance.randint(1, 4))]
        done += killed(bench, f"any-{runs}", kills)
        runs += 1
        print(f"{done} kills in {runs} runs, {bench.looked} looks", flush=True)


def any_kill(chance: random.Random) -> Kill:
    number = chance.choice((TERM, KILL))
    if chance.random() < 0.5:
        fault = chance.choice((Fault.CUT, Fault.SWALLOW))
        return Kill(signal=number, put=f"#{chance.randint(1, 40)}", fault=fault)
    if chance.random() < 0.3:
        event = chance.choice(("run.started", "device.ready", "data.loaded", "evaluated", "verdict"))
        return Kill(signal=number, event=event, delay=chance.random() * 2)
    return Kill(
        signal=number, event="epoch.ended", count=chance.randint(1, 25), delay=chance.random() / 5
    )

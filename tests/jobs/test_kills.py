"""The three promises, from outside: the real job is killed, started again and looked at.

`KILLS=2000 pytest tests/jobs/test_kills.py` tries that many more, at random moments and writes.
"""

import os
import random
import signal

import pytest
from kill import Kill, killed
from proxy import Fault

TERM, KILL = signal.SIGTERM, signal.SIGKILL
WRITES = (
    ("/claim.json", Fault.SWALLOW),
    ("/version", Fault.SWALLOW),
    ("/model.keras", Fault.CUT),
    ("/manifest.json", Fault.CUT),
    ("/manifest.json", Fault.SWALLOW),
    ("/champion.json", Fault.CUT),
    ("/champion.json", Fault.SWALLOW),
)

pytestmark = pytest.mark.timeout(1200)  # many processes, one after the other


def test_killed_at_each_write_of_publishing(bench):
    kills = [Kill(signal=KILL, put=write, fault=fault) for write, fault in WRITES]
    assert killed(bench, "writes", kills) == len(kills)


def test_killed_at_random_moments_of_training(bench):
    chance = random.Random(0)
    kills = [
        Kill(
            signal=number,
            event="epoch.ended",
            count=chance.randint(1, 6),
            delay=chance.random() / 9,
        )
        for number in (KILL, TERM)
    ]
    assert killed(bench, "training", kills) == len(kills)


def test_members_of_a_table_killed_in_training_and_publishing(table_bench):
    kills = [
        Kill(signal=KILL, event="epoch.ended", count=2, delay=0.05),
        Kill(signal=TERM, event="epoch.ended", count=2, delay=0.02),
        Kill(signal=KILL, put="/manifest.json", fault=Fault.SWALLOW),
    ]
    assert killed(table_bench, "table", kills) == len(kills)


@pytest.mark.timeout(0)  # as long as it takes
def test_killed_as_often_as_asked(bench):
    chance = random.Random(1)
    left = int(os.environ.get("KILLS", "6"))
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
        event = chance.choice(
            ("run.started", "device.ready", "data.loaded", "evaluated", "verdict")
        )
        return Kill(signal=number, event=event, delay=chance.random() * 2)
    return Kill(
        signal=number, event="epoch.ended", count=chance.randint(1, 11), delay=chance.random() / 5
    )

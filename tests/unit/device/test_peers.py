"""Peers over loopback, one in a thread each."""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from seaweed import free_ports

from job.device.peers import Finished, Peers
from job.device.topology import Topology
from job.errors import DataError, PeerLost, Preempted, StoreError, UsageError


@pytest.fixture
def addresses():
    return tuple(f"127.0.0.1:{port}" for port in free_ports(3))


def together(addresses, *works, timeout=30.0):
    """What each host's work comes to: (peers) → a value, or what it raises."""

    def run(index):
        try:
            with Peers(Topology(index=index, addresses=addresses), timeout) as peers:
                return works[index](peers)
        except Exception as exc:
            return exc

    with ThreadPoolExecutor(len(addresses)) as pool:
        return list(pool.map(run, range(len(addresses))))


def test_all_agree_with_worker_0_and_each_is_heard(addresses):
    def work(peers):
        welcome = peers.meet({"version": 1}, {"of": peers.index})
        block = peers.agree(peers.index + 7)
        stop = peers.any(peers.index == 2), peers.any(False)
        said = peers.gather(bytes([peers.index]) * 100_000)
        state = peers.agree_bytes(b"state" if peers.index == 0 else b"")
        if peers.index:
            with pytest.raises(Finished):
                peers.result()
        return welcome, block, stop, [each[:1] for each in said], state

    same = {"of": 0}, 7, (True, False)
    first, *others = together(addresses, work, work, work)
    assert first == (*same, [b"\0", b"\1", b"\2"], b"state")
    assert others == [(*same, [b"\1"], b"state"), (*same, [b"\2"], b"state")]


def test_different_facts_end_all_with_what_differs(addresses):
    def work(peers):
        peers.meet({"numpy": "1.0", "seed": 5 if peers.index == 2 else 4})

    ends = together(addresses, work, work, work)
    assert [type(end) for end in ends] == [UsageError] * 3
    assert all("on workers 0 and 2: seed 4 and 5" in end.message for end in ends)

    def compare(peers):
        peers.meet({})
        peers.expect_same("the same data", {"digest": min(peers.index, 1)}, DataError)

    assert [type(end) for end in together(addresses, compare, compare, compare)] == [DataError] * 3


@pytest.mark.parametrize(
    ("error", "others"), [(DataError, DataError), (Preempted, Preempted), (StoreError, PeerLost)]
)
@pytest.mark.parametrize("who", [0, 1])
def test_an_error_of_one_ends_all_and_counts_once(addresses, error, others, who):
    def work(peers):
        peers.meet({})
        if peers.index == who:
            raise error("Expected a. Received: b.", hint="Do c.")
        while True:
            peers.any(False)

    ends = together(addresses, work, work, work)
    assert [type(end) for end in ends] == [error if i == who else others for i in range(3)]
    assert all("Received: b." in end.message for end in ends)


def test_worker_0_that_needs_nobody_ends_the_others(addresses):
    def follow(peers):
        peers.meet({})

    ends = together(addresses, lambda _: "published", follow, follow)
    assert ends[0] == "published"
    assert [type(end) for end in ends[1:]] == [Finished] * 2


@pytest.mark.slow  # waits for who is not there
def test_one_that_is_not_there_or_not_one_of_us_is_named(addresses):
    def stranger(_):
        host, port = Topology(index=0, addresses=addresses).meeting
        for message in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">cQ", b"d", 3) + b"[1]"):
            with socket.create_connection((host, port), 10) as connection:
                connection.sendall(message)

    def work(peers):
        peers.meet({})

    ends = together(addresses, work, work, stranger, timeout=2.0)
    assert type(ends[0]) is type(ends[1]) is PeerLost
    assert f"worker 2 at {addresses[2]}" in ends[0].message


@pytest.mark.slow  # for more than the peer timeout
def test_worker_0_takes_the_time_that_it_needs_to_save(addresses):
    def work(peers):
        peers.meet({})
        with peers.in_step():
            peers.agree()
            with peers.resting():
                if peers.index == 0:
                    time.sleep(6)
                saved = peers.agree("saved")
            peers.any(False)
        return saved

    assert together(addresses, work, work, work, timeout=5.0) == ["saved"] * 3

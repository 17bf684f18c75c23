"""Several processes that train together as several hosts would, on loopback."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kill import Ended
from program import PROGRAM
from seaweed import free_ports

SECONDS = 240
"""For which a job may run."""

HOLD = """
import ctypes, os, sys, time
SEIZE, INTERRUPT, CONTINUE, ALL, FUTEX = 0x4206, 0x4207, 7, 0x40000000, "202 "
number, call = int(sys.argv[1]), ctypes.CDLL(None).ptrace
assert call(SEIZE, number, None, None) == 0
while True:
    assert call(INTERRUPT, number, None, None) == 0
    os.waitpid(number, ALL)
    if open(f"/proc/{number}/syscall").read().startswith(FUTEX):
        break
    assert call(CONTINUE, number, None, None) == 0
    time.sleep(0.01)
while os.WIFSTOPPED(os.waitpid(number, ALL)[1]):
    pass
"""
"""A debugger that stops the main thread of a process until that has ended.

It does so where the thread waits: elsewhere it may hold Python's lock, which all others need.
"""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What is sent to one of the processes.

    Attributes:
        worker: Its number.
        number: The signal; None stops its main thread alone.
        event: It comes `delay` seconds after worker 0 has logged this event.
        delay: In seconds.
    """

    worker: int
    number: signal.Signals | None
    event: str
    delay: float = 0.0


def train(
    hosts: int,
    folder: Path,
    *options: object,
    each: Sequence[Sequence[object]] = (),
    kill: Signal | None = None,
    without: Sequence[int] = (),
    environment: Callable[[int, list[str]], dict[str, str]] | None = None,
    **more: str,
) -> list[Ended]:
    """Runs `mlp-job train` in so many processes, and waits for all of them.

    Args:
        hosts: How many.
        folder: For termination messages.
        options: Of all.
        each: Further ones of each.
        kill: What is done to one of them.
        without: Numbers of workers that are not started.
        environment: (number, addresses) → how a worker finds the others; TF_CONFIG by default.
        more: Further environment variables.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(hosts)]
    processes, ends, killed_at = {}, {}, []
    for number in set(range(hosts)) - set(without):
        note = folder / f"termination-{number}.json"
        note.unlink(missing_ok=True)
        own = each[number] if each else ()
        processes[number] = subprocess.Popen(
            [PROGRAM, "train", *map(str, [*options, *own]), f"--termination-log={note}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or tensorflow)(number, addresses) | more,
        )

    def act() -> None:
        time.sleep(kill.delay)
        killed_at.append(time.monotonic())
        process = processes[kill.worker]
        if kill.number:
            process.send_signal(kill.number)
            return
        with subprocess.Popen([sys.executable, "-c", HOLD, str(process.pid)]) as debugger:
            assert debugger.wait() == 0

    def follow(number: int, process: subprocess.Popen[str]) -> None:
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
        reader.start()
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            seen = kill and number == 0 and events[-1]["event.name"] == kill.event
            if seen and not acting:
                acting.append(threading.Thread(target=act))
                acting[0].start()
        code = process.wait()
        ended = time.monotonic()
        reader.join()
        process.stdout.close()
        process.stderr.close()
        note = folder / f"termination-{number}.json"
        ends[number] = Ended(
            code=code,
            events=events,
            errors=errors[0],
            said=json.loads(note.read_text()) if note.exists() else {},
            seconds=ended - killed_at[0] if killed_at else 0.0,
        )

    acting: list[threading.Thread] = []
    threads = [threading.Thread(target=follow, args=item) for item in processes.items()]
    for thread in threads:
        thread.start()
    late = time.monotonic() + SECONDS
    try:
        for number, thread in zip(processes, threads, strict=True):
            stopped = kill and kill.number == signal.SIGSTOP and kill.worker == number
            if not stopped:
                thread.join(max(0, late - time.monotonic()))
    finally:
        for process in processes.values():
            process.kill()  # one that was put to sleep, or is late
        for thread in [*threads, *acting]:
            thread.join()
    return [ends[number] for number in sorted(ends)]


def tensorflow(number: int, addresses: list[str]) -> dict[str, str]:
    """What TensorFlow reads."""
    task = {"type": "worker", "index": number}
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}

"""SIGTERM while the main thread hears nothing, and streams that nobody holds: real processes."""

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

import numpy as np
import pytest
import tiny
from kill import EVENT, PROGRAM
from program import QUICK, events

A_COMMAND = """
import ctypes, sys, threading, time
from job import cli
from job.process import log, shutdown

@cli.app.command()
def wait():
    shutdown.note(run_id="r", checkpoint={"epoch": 3})
WHICH
sys.argv[1:] = ["wait"]
cli.main()
"""

IN_C = """
    mutex = ctypes.create_string_buffer(64)
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
    threading.Timer(1, log.event, ("locked", "")).start()
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""
"""One call that no signal ends; it lets other threads run, as TensorFlow does."""

IN_A_CHECKPOINT = """
    with shutdown.deferred():
        log.event("deferred", "")
        while True:
            time.sleep(0.1)
"""

CLEANING_UP = """
    try:
        log.event("begun", "")
        time.sleep(60)
    finally:
        log.event("cleaning", "")
        time.sleep(1)
        log.event("cleaned", "")
"""


started = []


@pytest.fixture(autouse=True)
def _none_is_left():
    yield
    while started:
        started.pop().kill()


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int | None
    seconds: float
    said: dict
    told: list


class Running:
    """A process with a termination message.

    Args:
        command: Its command line.
        note: Where the message goes.
        streams: Its standard output is a pipe of JSON lines by default.
    """

    def __init__(self, command, note, **streams):
        self.note, self.told = note, []
        self.process = subprocess.Popen(
            command,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | streams),
            env=os.environ | {"TMPDIR": str(note.parent), "MLP_JOB_TERMINATION_LOG": str(note)},
        )

        started.append(self.process)

    def hear(self, event):
        while event not in self.told:
            self.told.append(json.loads(self.process.stdout.readline())[EVENT])

    def send(self, number):
        self.began = time.monotonic()
        self.process.send_signal(number)

    def ended(self):
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        seconds = time.monotonic() - self.began
        told = self.told + [json.loads(line)[EVENT] for line in self.rest()]
        said = json.loads(self.note.read_text()) if self.note.is_file() else {}
        return Ended(code=code, seconds=seconds, said=said, told=told)

    def rest(self):
        return (self.process.communicate()[0] or "").splitlines()


def wait(which, note):
    return Running([sys.executable, "-c", A_COMMAND.replace("WHICH", which)], note)


def expect_preempted(ended):
    assert ended.code == 143, ended
    assert ended.seconds < 10, ended
    assert (ended.said["error"], ended.said["exit_code"]) == ("Preempted", 143), ended
    assert ended.said["run_id"] == "r", ended
    assert ended.said["checkpoint"]["epoch"] >= 1, ended
    assert (
        ended.said["hint"] == "The same command with --run-id r goes on from the last checkpoint."
    )


def test_sigterm_during_one_long_call_into_c(tmp_path):
    os.mkfifo(tmp_path / "stalls")
    note, stalls, ctrl_c = [wait(IN_C, tmp_path / name) for name in ("note", "stalls", "ctrl-c")]
    for each in (ctrl_c, note, stalls):
        each.hear("locked")
        each.send(signal.SIGINT if each is ctrl_c else signal.SIGTERM)
    expect_preempted(note.ended())
    ended = stalls.ended()
    assert ended.code == 143, ended
    assert ended.seconds < 10, ended
    time.sleep(1)
    assert ctrl_c.process.poll() is None
    ctrl_c.process.kill()
    ctrl_c.ended()


def test_another_sigterm_grants_no_time(tmp_path):
    here = wait(IN_A_CHECKPOINT, tmp_path / "note")
    here.hear("deferred")
    here.send(signal.SIGTERM)
    time.sleep(4)
    here.process.send_signal(signal.SIGTERM)
    ended = here.ended()
    expect_preempted(ended)
    assert ended.told[-1] == "run.ended", ended


def test_more_sigterms_do_not_disturb_the_end(tmp_path):
    here = wait(CLEANING_UP, tmp_path / "note")
    here.hear("begun")
    here.send(signal.SIGTERM)
    while here.process.poll() is None:
        here.process.send_signal(signal.SIGTERM)
        time.sleep(0.001)
    ended = here.ended()
    expect_preempted(ended)
    assert ended.told == ["begun", "cleaning", "cleaned", "run.ended"]


@pytest.fixture
def tiny_job(tmp_path):
    train, test = tiny.split(600, 0), tiny.split(200, 1)
    data = tmp_path / "data.npz"
    np.savez(data, x_train=train.x, y_train=train.y, x_test=test.x, y_test=test.y)
    sizes = ("--hidden=16", "--device=cpu", "--no-xla")
    store = f"--store={tmp_path / 'store'}"
    return [PROGRAM, "train", f"--data={data}", "--name=tiny", "--run-id=r", store, *sizes]


@pytest.fixture
def unread():
    """Both ends of a pipe that is soon full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_sigterm_while_nobody_reads_the_log(unread, tiny_job, tmp_path):
    reader, writer = unread
    options = ("--epochs=10000", "--checkpoint-every=0.02", "--log-format=json")
    streams = {"stdout": writer, "stderr": subprocess.DEVNULL}
    here = Running([*tiny_job, *options], tmp_path / "note", **streams)
    read = b""
    while b"checkpoint.saved" not in read:
        assert here.process.poll() is None
        read += os.read(reader, 4096)
    held, before = array.array("i", [0]), -1
    while held[0] < 2048 or held[0] != before:
        assert here.process.poll() is None
        before = held[0]
        time.sleep(0.5)
        fcntl.ioctl(reader, termios.FIONREAD, held)
    here.send(signal.SIGTERM)
    expect_preempted(here.ended())


def test_the_termination_message_does_not_wait_for_the_log(unread, tmp_path):
    _, writer = unread
    os.write(writer, bytes(4096))
    note = tmp_path / "note"
    here = Running([PROGRAM, "train", "--epochs=0"], note, stdout=writer)
    while not note.exists() or not note.read_bytes():
        assert here.process.poll() is None
        time.sleep(0.05)
    assert json.loads(note.read_text())["error"] == "UsageError"
    here.process.kill()
    here.process.wait()


def shell(command, *arguments):
    return subprocess.run(
        ["/bin/bash", "-c", "unset PYTHONUNBUFFERED; " + command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


NOWHERE = {
    "left": "| true; exit ${PIPESTATUS[0]}",
    "full": ">/dev/full",
    "closed": ">&-",
    "all closed": "<&- >&- 2>&-",
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("where", NOWHERE)
def test_a_log_that_goes_nowhere_does_not_change_the_end(where, form, tmp_path):
    note = tmp_path / "termination"
    options = ("--epochs=0", f"--log-format={form}", f"--termination-log={note}")
    done = shell(f'(sleep 0.1; exec "$0" train "$@") {NOWHERE[where]}', PROGRAM, *options)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert json.loads(note.read_text())["error"] == "UsageError"


@pytest.mark.parametrize("where", ["| head -n 1; exit ${PIPESTATUS[0]}", "<&- >&- 2>&-"])
def test_a_log_that_goes_nowhere_costs_the_job_nothing(where, tiny_job, tmp_path):
    note = tmp_path / "termination"
    more = ("--epochs=8", "--log-format=text", f"--termination-log={note}")
    done = shell(f'"$0" "$@" {where}', *tiny_job, *more)
    said = json.loads(note.read_text())
    assert (done.returncode, said["outcome"]) == (0, "promoted"), (said, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", ["run.started", "epoch.ended"])
def test_a_signal_ends_the_run_and_nothing_is_published(number, code, moment, corners, tmp_path):
    store, note = tmp_path / "store", tmp_path / "termination"
    where = ("--store", store, "--name", "c", "--termination-log", note)
    where += ("--checkpoint-every=3600",)
    process = subprocess.Popen(
        [
            PROGRAM,
            "train",
            *QUICK,
            "--epochs=100000",
            "--data",
            corners,
            "--checkpoint-every=3600",
            *where,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if json.loads(line)["event.name"] == moment:
            break
    time.sleep(0.1)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code, rest + errors
    assert events(rest)[-1]["event.name"] == "run.ended"
    told = json.loads(note.read_text())
    assert told["exit_code"] == code
    again = {
        "run.started": "Run the same command again.",
        "epoch.ended": f"The same command with --run-id {told['run_id']} goes on from the last "
        "checkpoint.",
    }
    assert told["hint"] == events(rest)[-1]["hint"] == again[moment]
    assert "Traceback" not in errors
    assert not (store / "c/versions").exists()
    kept = [path.name for path in store.rglob("checkpoint-*")]
    assert len(kept) == (moment == "epoch.ended")  # the next try goes on from there

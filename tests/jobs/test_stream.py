"""A real job on data several times the memory that it is allowed: from S3, killed, resumed."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import kill
import numpy as np
import proxy as proxies
import pyarrow as pa
import pytest
from kill import Kill, expect_promises, killed
from program import PROGRAM
from proxy import Fault
from pyarrow import parquet

RESERVED = 5 << 30
"""RLIMIT_DATA, from which the job decides to stream. It counts what is reserved and never touched,
such as Arrow's pools of 1 GiB each and the stacks of threads: it cannot be near LIMIT."""

LIMIT = 896 << 20
"""Bytes of anonymous memory at which the job is killed; a run on a few rows has 600 to 680 MB."""

ROWS, TEST_ROWS, SIDE = 720_000, 5_000, 64
"""The training rows take 2.9 GB as bytes."""

WATCHED = """
import ctypes, signal, subprocess, sys, time
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
job = subprocess.Popen(
    sys.argv[2:], preexec_fn=lambda: ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
)
for name in (signal.SIGTERM, signal.SIGINT):
    signal.signal(name, lambda number, _: job.send_signal(number))
while job.poll() is None:
    try:
        lines = open(f"/proc/{job.pid}/status").read().splitlines()
        used = [int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon")]
    except OSError:
        used = []
    if used and used[0] > int(sys.argv[1]):
        job.kill()
        sys.exit(f"killed: {used[0] >> 20} MiB of anonymous memory")
    time.sleep(0.02)
sys.exit(job.returncode if job.returncode >= 0 else 100 - job.returncode)
"""
"""The command in a process that kills it when it takes more memory than it may."""

pytestmark = pytest.mark.timeout(1800)


def images(rows, seed):
    """Squares in one of four corners, and a little noise; hardly a byte when packed."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, rows)
    shapes = np.zeros((4, SIDE, SIDE), np.uint8)
    half = SIDE // 2
    for label in range(4):
        top, left = label // 2 * half, label % 2 * half
        shapes[label, top : top + half, left : left + half] = 200
    noise = rng.integers(0, 256, (rows, SIDE), np.uint8)
    return shapes, noise, y


def write(path: Path, train: int = ROWS, test: int = TEST_ROWS) -> None:
    """An .npz of all rows, a part at a time: this process has little memory, too."""
    import zipfile

    from numpy.lib import format as npy

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for part, rows, seed in (("train", train, 0), ("test", test, 1)):
            shapes, noise, y = images(rows, seed)
            with archive.open(f"x_{part}.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": (rows, SIDE, SIDE)}
                npy.write_array_header_1_0(member, header)
                for first in range(0, rows, 5000):
                    block = shapes[y[first : first + 5000]]
                    block[:, 0] = noise[first : first + 5000]
                    member.write(block.tobytes())
            body = io.BytesIO()
            np.save(body, y)
            archive.writestr(f"y_{part}.npy", body.getvalue())


@pytest.fixture(scope="module")
def large(s3, tmp_path_factory):
    """The data in S3, and what a run that nobody disturbs makes of it in little memory."""
    folder = tmp_path_factory.mktemp("large")
    write(folder / "data.npz")
    s3.client().upload_file(str(folder / "data.npz"), s3.bucket, "large/data.npz")
    options = (
        f"--data=s3://{s3.bucket}/large/data.npz", "--epochs=2", "--hidden=4",
        "--batch-size=1000", "--device=cpu", "--checkpoint-every=0.5",
    )  # fmt: skip
    with proxies.serve(s3.env) as proxy:
        made = kill.Bench(proxy, s3.client(), f"s3://{s3.bucket}/streams", "large", folder, options)
        made.enter = (
            "prlimit", f"--data={RESERVED}", sys.executable, "-c", WATCHED, str(LIMIT),
        )  # fmt: skip
        ended = made.train("whole")
        assert ended.code == 0, ended.errors
        made.whole = made.bits("whole")
        yield made, ended


def test_more_data_than_memory_is_trained_on_and_says_so(large):
    bench, ended = large
    [planned] = [e for e in ended.events if e[kill.EVENT] == "network.planned"]
    assert planned["chosen"]["feed"] == "stream"
    assert "--feed decides" in " ".join(planned["reasons"])
    assert ROWS * SIDE**2 > 3 * LIMIT
    assert bench.whole["history"]["val_accuracy"][-1] > 0.9


def test_killed_in_the_pass_and_in_training_it_ends_with_the_same_bits(large):
    bench, _ = large
    for at in (
        Kill(signal=signal.SIGKILL, put="data.npz", method="GET", count=6),  # in the pass
        Kill(signal=signal.SIGKILL, event="checkpoint.saved", count=3),
    ):
        ended = bench.train("killed", at)
        assert ended.code == -signal.SIGKILL, ended
    ended = bench.train("killed")
    assert ended.code == 0, ended
    assert "run.resumed" in {event[kill.EVENT] for event in ended.events}
    expect_promises(bench, "killed")


def test_commands_take_more_rows_than_memory_wherever_training_kept_its_own(tmp_path):
    write(tmp_path / "few.npz", 4000, 1000)
    write(tmp_path / "many.npz", 1000, ROWS)
    store = ("--name=few", f"--store={tmp_path / 'store'}")
    limited = ("prlimit", f"--data={RESERVED}", sys.executable, "-c", WATCHED, str(LIMIT))

    def run(*arguments):
        done = subprocess.run(
            [*limited, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    options = ("--feed=memory", "--epochs=2", "--hidden=4", "--no-xla", "--device=cpu")
    run("train", f"--data={tmp_path / 'few.npz'}", *options, *store)
    assert f"{ROWS:,} test rows" in run(
        "evaluate", "latest", f"--data={tmp_path / 'many.npz'}", *store
    )
    output = tmp_path / "said.parquet"
    run("predict", "latest", tmp_path / "many.npz", f"--output={output}", *store)
    assert parquet.read_metadata(output).num_rows == ROWS
    run("data", tmp_path / "many.npz")


PARTS, PART_ROWS = 4, 200_000
"""Of a table whose training rows take two windows of a stream."""


@pytest.fixture(scope="module")
def table(s3, tmp_path_factory):
    """A table in S3, and what a run that nobody disturbs makes of it."""
    folder = tmp_path_factory.mktemp("table")
    for part in range(PARTS):
        rng = np.random.default_rng(part)
        x = rng.normal(size=(PART_ROWS, 16)).astype(np.float32)
        columns = {f"x{i}": x[:, i] for i in range(16)} | {"y": np.where(x[:, 0] > 0, "yes", "no")}
        parquet.write_table(pa.table(columns), folder / f"part-{part}.parquet")
        key = f"table/part-{part}.parquet"
        s3.client().upload_file(str(folder / f"part-{part}.parquet"), s3.bucket, key)
    options = (
        f"--data=s3://{s3.bucket}/table", "--label=y", "--feed=stream", "--model=mlp",
        "--epochs=12", "--hidden=8", "--no-xla", "--batch-size=2000", "--dropout=0.1",
        "--device=cpu", "--checkpoint-every=0.2",
    )  # fmt: skip
    with proxies.serve(s3.env) as proxy:
        made = kill.Bench(proxy, s3.client(), f"s3://{s3.bucket}/streams", "table", folder, options)
        ended = made.train("whole")
        assert ended.code == 0, ended.errors
        made.whole = made.bits("whole")
        yield made


def test_killed_a_dozen_times_a_stream_ends_with_the_same_bits(table):
    def at(put, fault=Fault.CUT, method="PUT", count=1):
        return Kill(signal=signal.SIGKILL, put=put, fault=fault, method=method, count=count)

    def after(event, count=1, delay=0.0):
        return Kill(signal=signal.SIGKILL, event=event, count=count, delay=delay)

    cache = table.folder / "cache"
    in_the_pass = [at(f"part-{i}.parquet", method="GET", count=i + 2) for i in range(PARTS - 1)]
    for each in in_the_pass:
        assert table.train("swept", each).code == -signal.SIGKILL
    table.options += [f"--cache={cache}"]
    into_the_cache = at("part-3.parquet", method="GET", count=5)
    assert table.train("swept", into_the_cache).code == -signal.SIGKILL
    kills = [
        after("data.loaded"),
        after("network.planned"),
        at("/checkpoint-a"),
        at("/checkpoint-b"),
        at("/checkpoint-a", Fault.SWALLOW),
        after("epoch.ended", delay=0.02),
        after("checkpoint.saved", count=2),
        after("evaluated"),
        at("/manifest.json"),
    ]
    assert killed(table, "swept", kills) == len(kills)
    kept = sorted(path.suffix for path in (cache / "rows").iterdir())
    assert kept == [".json"] * PARTS + [".rows"] * PARTS

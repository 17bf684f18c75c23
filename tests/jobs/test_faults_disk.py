"""The real job on a disk that fills up, goes read-only, or holds what does not belong there."""

import os
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from disks import disk
from kill import EVENT, FolderBench, Kill, expect_promises
from program import PROGRAM, failure


@pytest.fixture
def small_disk(tmp_path):
    with disk(tmp_path) as made:
        yield made


def epochs(ended):
    return [event["epoch"] for event in ended.events if event[EVENT] == "epoch.ended"]


def failures(ended):
    return [event[EVENT] for event in ended.events if event[EVENT].endswith(".failed")]


def expect_a_way_on(ended, code, received):
    """The end says what was received, and how to publish what is trained."""
    assert ended.code == code, ended
    assert received in ended.said["message"], ended.said
    assert "--run-id disk resumes" in ended.said["hint"], ended.said
    assert "not trained again" in ended.said["hint"], ended.said
    assert ended.said["checkpoint"]["epoch"] == 12, ended.said
    assert "Traceback" not in ended.errors, ended


def test_a_store_on_a_disk_with_bad_days(bench, small_disk):
    store = small_disk.path / "store"
    here = FolderBench(bench, store, small_disk.seen / "store", small_disk.enter)
    brief = "--store-timeout=2"

    full = Kill(event="epoch.ended", count=2, meanwhile=lambda _: small_disk.fill())
    ended = here.train("disk", full, brief)
    expect_a_way_on(ended, 74, "No space left on device")
    assert "Free some space" in ended.said["hint"]
    assert {"checkpoint.failed", "store.failed"} <= set(failures(ended))
    assert ended.said["checkpoint"]["key"].startswith(f"{bench.folder}/mlp-job-")

    small_disk.make_room()
    read_only = Kill(event="evaluated", meanwhile=lambda _: small_disk.make_read_only())
    ended = here.train("disk", read_only, brief)
    expect_a_way_on(ended, 74, "Read-only file system")
    assert "allowed when the run began" in ended.said["hint"]
    assert epochs(ended) == []

    small_disk.make_writable()

    taken = len(list((here.root / "versions").iterdir()))  # the full disk has room for folders
    stray = here.root / f"versions/{taken + 1}"
    put_a_file_there = Kill(event="evaluated", meanwhile=lambda _: stray.write_text("stray"))
    ended = here.train("disk", put_a_file_there)
    expect_a_way_on(ended, 65, "Not a directory")
    assert str(store / bench.name / "versions" / stray.name) in ended.said["message"]
    assert "Move it away" in ended.said["hint"]
    assert "store.failed" not in failures(ended)  # no second try

    stray.unlink()
    ended = here.train("disk")
    assert (ended.code, epochs(ended)) == (0, []), ended
    expect_promises(here, "disk")


def test_scratch_on_a_disk_with_bad_days(bench, small_disk):
    def train(kill=None):
        return bench.train("disk", kill, TMPDIR=str(small_disk.path))

    bench.enter = small_disk.enter
    try:
        full = Kill(event="epoch.ended", count=2, meanwhile=lambda _: small_disk.fill())
        expect_a_way_on(train(full), 74, "No space left on device")
        small_disk.make_room()
        ended = train(Kill(event="data.loaded", meanwhile=lambda _: small_disk.make_read_only()))
        expect_a_way_on(ended, 74, "Read-only file system")
        small_disk.make_writable()
        ended = train()
    finally:
        bench.enter = ()
    assert (ended.code, epochs(ended)) == (0, []), ended
    expect_promises(bench, "disk")


@pytest.mark.parametrize(
    ("name", "cached", "received"),
    [
        ("t.parquet", False, "MiB free"),  # before anything is read
        ("t.csv.gz", False, "No space left on device"),  # its rows are not known before
        ("t.parquet", True, "No space left on device"),
        ("t.npz", True, "MiB free"),
    ],
)
def test_a_stream_of_more_rows_than_the_disk_holds(
    name, cached, received, small_disk, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("data")
    path = folder / name
    values = np.arange(400_000) % 1000 / 8
    table = pa.table({f"x{i}": values + i for i in range(10)} | {"y": ["a", "b"] * 200_000})
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif path.suffix == ".npz":
        x = np.column_stack([values] * 20).astype(np.float32)
        np.savez_compressed(path, x_train=x, y_train=np.arange(len(x)) % 2)
    else:
        with pa.CompressedOutputStream(str(path), "gzip") as out:
            pa.csv.write_csv(table, out)
    done = subprocess.run(
        [
            *small_disk.enter, PROGRAM, "data", path, "--all", "--feed=stream",
            *(["--label=y"] if path.suffix != ".npz" else []),
            *([f"--cache={small_disk.path}/cache"] if cached else []),
        ],
        capture_output=True, text=True, check=False,
        env=os.environ | {"TMPDIR": str(folder if cached else small_disk.path)},
    )  # fmt: skip
    assert done.returncode == 74, done.stdout + done.stderr
    assert "room for its rows" in failure(done)["message"]
    assert received in failure(done)["message"]
    assert list(small_disk.seen.iterdir()) == ([small_disk.seen / "cache"] if cached else [])
    assert not [path for path in small_disk.seen.rglob("*") if path.is_file()]
    assert list(folder.iterdir()) == [path]


def test_training_does_not_try_a_disk_again_that_is_too_small(small_disk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    values = np.arange(400_000) % 1000 / 8
    table = pa.table({f"x{i}": values + i for i in range(10)} | {"y": ["a", "b"] * 200_000})
    pa.parquet.write_table(table, folder / "t.parquet")
    done = subprocess.run(
        [
            *small_disk.enter, PROGRAM, "train", f"--data={folder / 't.parquet'}", "--label=y",
            "--feed=stream", "--name=disk", f"--store={folder / 'store'}", "--log-format=json",
        ],
        capture_output=True, text=True, check=False,
        env=os.environ | {"TMPDIR": str(small_disk.path)},
    )  # fmt: skip
    assert done.returncode == 74, done.stdout + done.stderr
    assert "MiB free" in done.stdout
    assert "store.failed" not in done.stdout
    assert not list(small_disk.seen.glob("mlp-job-*"))

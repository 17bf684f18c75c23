"""The same data read into memory and onto the disk: one digest, one schema, one split."""

import bz2
import gzip
import itertools
import lzma
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import disks
import numpy as np
import proxy
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from data_files import arrays, load, refused, write_idx, write_npz
from PIL import Image
from proxy import Fault

from job.data import hashing, place, splits
from job.data.files import ranges
from job.data.place import Disk
from job.data.table import fit, frame, split
from job.errors import DataError, StoreError


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (place, hashing, frame, split, splits, fit):
        monkeypatch.setattr(module, "BLOCK_ROWS", 776)


def columns(rows, seed=0):
    """Every kind of column, with and without missing values."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)

    def gaps(values):
        return pa.array(values, mask=rng.random(rows) < 0.1)

    return pa.table(
        {
            "x": x,
            "count": rng.integers(0, 1000, rows),
            "colour": gaps(rng.choice(["red", "green", "blue"], rows)),
            "few": gaps(rng.integers(0, 5, rows)),
            "when": gaps(rng.integers(10**9, 2 * 10**9, rows).astype("datetime64[s]")),
            "flag": rng.random(rows) > 0.5,
            "amount": gaps(1000 * rng.normal(size=rows)),
            "id": np.arange(rows),
            "y": gaps(np.where(x + rng.normal(size=rows) > 0, "yes", "no")),
        }
    )


def words(rows):
    rng = np.random.default_rng(0)
    some = np.array(["good", "bad", "fine", "awful", "dull"])
    lines = [" ".join(rng.choice(some, 4)) for _ in range(rows)]
    return pa.table({"said": lines, "y": ["yes" if "good" in line else "no" for line in lines]})


def written(folder, kind):
    """What --data names, and the other options."""
    table = columns(4000)
    if kind == "parquet":
        pa.parquet.write_table(table, folder / "t.parquet", row_group_size=1000)
        return folder / "t.parquet"
    if kind == "csv":
        pa.csv.write_csv(table, folder / "t.csv")
        return folder / "t.csv"
    if kind == "csv.gz":
        with pa.CompressedOutputStream(str(folder / "t.csv.gz"), "gzip") as out:
            pa.csv.write_csv(table, out)
        return folder / "t.csv.gz"
    if kind == "parts":
        for part, begin in (("A", 0), ("B", 1500)):
            (folder / f"part={part}").mkdir()
            rows = table.slice(begin, 1500 if part == "A" else None)
            pa.parquet.write_table(rows, folder / f"part={part}" / "1.parquet")
        return folder
    if kind == "quotes":
        lines = [f'a "b {i % 5}\t{i / 7}\t{"yn"[i % 2]}\n' for i in range(5000)]
        (folder / "t.tsv").write_text("".join(["said\tx\ty\n", *lines]))
        return folder / "t.tsv"
    if kind == "csv.zst":
        with pa.CompressedOutputStream(str(folder / "t.csv.zst"), "zstd") as out:
            pa.csv.write_csv(table, out)
        return folder / "t.csv.zst"
    if kind == "jsonl":
        rows = words(1500).to_pylist()
        lines = (f'{{"said": "{row["said"]}", "y": "{row["y"]}"}}\n' for row in rows)
        (folder / "t.jsonl").write_text("".join(lines))
        return folder / "t.jsonl"
    if kind == "jsonl.zst":
        plain = written(folder, "jsonl")
        with pa.CompressedOutputStream(str(folder / "t.jsonl.zst"), "zstd") as out:
            out.write(plain.read_bytes())
        return folder / "t.jsonl.zst"
    (folder / "windows.csv").write_bytes(
        "titel;größe\n".encode("cp1252")
        + b"".join(b"stra\xdfe %d;%d\n" % (i % 7, i % 2) for i in range(99))
    )
    return folder / "windows.csv"


KINDS = ["parquet", "csv", "csv.gz", "csv.zst", "parts", "jsonl", "jsonl.zst", "windows", "quotes"]
LABELS = {"windows": "größe"}


def same(one, other):
    """Two data sets that differ in where their rows lie only."""
    assert one.digest == other.digest
    assert (one.classes, one.duplicates, one.findings) == (
        other.classes, other.duplicates, other.findings,
    )  # fmt: skip
    assert (one.table and one.table.schema) == (other.table and other.table.schema)
    assert not one.size.streamed
    assert other.size.streamed
    for name in ("fit_rows", "validation_rows"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for ours, theirs in ((one.train, other.train), (one.test, other.test)):
        np.testing.assert_array_equal(ours.y, theirs.y)
        mine, his = (s.x if isinstance(s.x, dict) else {"x": s.x} for s in (ours, theirs))
        assert mine.keys() == his.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], his[name])
            assert isinstance(his[name], np.memmap)
            assert not isinstance(mine[name], np.memmap)
    if one.table:
        for name, values in one.table.test.items():
            np.testing.assert_array_equal(values, other.table.test[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", [0.25, lambda _table: 0.1])
def test_a_table_is_the_same_in_memory_and_on_the_disk(tmp_path, kind, split):
    uri, label = written(tmp_path, kind), LABELS.get(kind, "y")
    one, other = (load(uri, split=split, label=label, feed=f) for f in ("memory", "stream"))
    same(one, other)


def test_a_table_with_test_rows_of_its_own_is_the_same(tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        pa.parquet.write_table(columns(2000, seed), tmp_path / f"{name}.parquet")
    one, other = (
        load(tmp_path / "train.parquet", tmp_path / "test.parquet", label="y", feed=feed)
        for feed in ("memory", "stream")
    )
    same(one, other)


@pytest.mark.parametrize("parted", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_arrays_are_the_same_in_memory_and_on_the_disk(tmp_path, parted, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (900, 6, 5)).astype(dtype)
    y = rng.integers(0, 3, 900)
    parts = {"x_train": x, "y_train": y}
    if parted:
        parts |= {"x_test": x[:50] + 1, "y_test": y[:50]}
    path = write_npz(tmp_path / "rows.npz", **parts)
    same(load(path, feed="memory"), load(path, feed="stream"))


def test_images_are_the_same_in_memory_and_on_the_disk(tmp_path):
    folder = images(tmp_path / "animals")
    same(load(folder, feed="memory"), load(folder, feed="stream"))


def put(s3, s3_uri, path):
    """Copies a file or a folder to S3; gives its URI."""
    prefix, client = s3_uri.removeprefix(f"s3://{s3.bucket}/"), s3.client()
    for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
        key = file.relative_to(path.parent)
        client.upload_file(str(file), s3.bucket, f"{prefix}/{key}")
    return f"{s3_uri}/{path.name}"


def images(folder):
    """Class folders; gives the folder."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 255, (7, 7)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def written_or_drawn(folder, kind):
    """What --data names, of a table, of arrays or of images, and the other options."""
    rng = np.random.default_rng(0)
    if kind == "npz":
        x, y = rng.normal(size=(900, 6, 5)), rng.integers(0, 3, 900)
        return write_npz(folder / "rows.npz", x_train=x, y_train=y), {}
    if kind == "idx":
        return write_idx(folder / "idx", arrays(9000), packed=True), {}
    if kind == "images":
        return images(folder / "animals"), {}
    (folder / "data").mkdir()
    return written(folder / "data", kind), {"label": LABELS.get(kind, "y")}


@pytest.fixture
def small_ranges(monkeypatch):
    for name, size in (("MOST_BYTES", 20_000), ("LEAST_BYTES", 1000), ("BUDGET_BYTES", 160_000)):
        monkeypatch.setattr(ranges, name, size)


@pytest.fixture
def flaky(s3, monkeypatch):
    """Of the answers to requests for ranges, every third one breaks off, once."""
    with proxy.serve(s3.env) as made:
        broken = set()

        def fault(request):
            which = request.path, request.headers.get("Range")
            if request.method != "GET" or not which[1] or which in broken:
                return Fault.NONE
            broken.add(which)
            return Fault.TRUNCATE if len(broken) % 3 == 1 else Fault.NONE

        made.fault = fault
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        yield broken


@pytest.mark.slow
@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("kind", [*KINDS, "npz", "idx", "images"])
def test_a_stream_from_s3_is_read_in_flight(kind, tmp_path, s3, s3_uri, flaky):
    path, more = written_or_drawn(tmp_path, kind)
    one = load(path, feed="memory", **more)
    other = load(put(s3, s3_uri, path), feed="stream", **more)  # its scratch folder cannot be made
    same(one, replace(other, findings=one.findings))
    assert len(flaky) > (not kind.startswith(("jsonl", "windows")))


@pytest.mark.slow
@pytest.mark.usefixtures("small_ranges")
def test_an_object_that_is_replaced_while_it_is_read_is_an_error(tmp_path, s3, s3_uri, monkeypatch):
    uri = put(s3, s3_uri, written(tmp_path, "csv"))
    with proxy.serve(s3.env) as made:

        def fault(request):
            if request.headers.get("Range") == "bytes=60000-79999":
                _, bucket, key = request.path.split("/", 2)
                s3.client().put_object(Bucket=bucket, Key=key, Body=b"x,y\n1,a\n2,b\n" * 100_000)
            return Fault.NONE

        made.fault = fault
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        with refused(
            StoreError, uri.rpartition("/")[0], "t.csv as it was listed", "another object"
        ):
            load(uri, label="y", feed="stream")


@pytest.mark.slow
@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("kind", ["parquet", "csv.gz", "jsonl"])
def test_a_store_that_fails_for_good_in_the_pass(kind, tmp_path, s3, s3_uri, monkeypatch):
    uri = put(s3, s3_uri, written(tmp_path, kind))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with proxy.serve(s3.env) as made:
        gets = itertools.count()
        made.fault = lambda r: (
            Fault.BUSY if r.headers.get("Range") and next(gets) > 1 else Fault.NONE
        )
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        with refused(StoreError, uri, "SlowDown"):
            load(uri, label="y", feed="stream")


STREAMED = """
import sys
from job.config import Config
from job.data import sizing
from pathlib import Path
from job.data.files import listing
reading = Config.of(data=sys.argv[1], name="t", label="x0").data
print(sizing.of(reading, *(listing.find(uri, Path(".")) for uri in sys.argv[1:])).streamed)
"""


@pytest.mark.parametrize(
    ("gigabytes", "files", "streamed"),
    [(1, 1, True), (64, 1, False), (2, 1, False), (2, 2, True)],  # a file takes 0.75 GB of 60 %
)
def test_what_does_not_fit_into_memory_goes_to_the_disk(gigabytes, files, streamed, tmp_path):
    ones = pa.array(np.ones(3_000_000, np.int8))  # a small file of many values
    pa.parquet.write_table(pa.table({f"x{i}": ones for i in range(10)}), tmp_path / "t.parquet")
    limited = ("prlimit", f"--data={gigabytes << 30}", sys.executable, "-c", STREAMED)
    data = [tmp_path / "t.parquet"] * files
    done = subprocess.run([*limited, *data], capture_output=True, text=True)
    assert done.stdout == f"{streamed}\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("feed", "code", "words"),
    [
        ("memory", 65, ("t.parquet: expected a table that fits into memory (1.0 GiB)",
                                  "one that takes 1.4 GiB or more", "--feed stream")),
        ("auto", 0, ()),
    ],
)  # fmt: skip
def test_a_table_that_cannot_fit_into_memory_is_rejected(tmp_path, feed, code, words):
    ones = pa.array(np.ones(6_000_000, np.int8))
    table = pa.table({f"x{i}": ones for i in range(9)} | {"y": pa.array(np.arange(6_000_000) % 2)})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    limited = ("prlimit", f"--data={1 << 30}", sys.executable, "-m", "job", "data")
    options = ("--label=y", f"--feed={feed}")
    done = subprocess.run(
        [*limited, tmp_path / "t.parquet", *options], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    for each in words:
        assert each in done.stderr


def test_a_table_is_not_tested_on_the_embedded_images(tmp_path):
    with refused(DataError, "mnist: expected a table"):
        load(written(tmp_path, "parquet"), "mnist", label="y")


def test_nothing_is_left_on_the_disk(tmp_path, monkeypatch):
    uri = written(tmp_path, "parquet")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    dataset = load(uri, label="y", feed="stream")
    assert list((tmp_path / "scratch").iterdir()) == []  # though its rows are there
    assert isinstance(dataset.train.x["numbers"], np.memmap)


def test_a_damaged_shard_is_named_with_the_row_group(tmp_path):
    uri = written(tmp_path, "parts")
    path = uri / "part=B" / "1.parquet"
    body = bytearray(path.read_bytes())
    body[4:60] = bytes(56)
    path.write_bytes(body)
    with refused(DataError, "part=B", "row group 0"):
        load(uri, label="y", feed="stream")


def test_a_table_is_written_once_and_mapped(tmp_path):
    made = Disk(folder=tmp_path).table(iter([columns(10), columns(20)]), "t")
    assert made.num_rows == 30
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shift", [0, 50])
def test_folds_are_the_same_where_keys_do_not_fit_into_memory(tmp_path, shift):
    rng = np.random.default_rng(0)
    some = rng.integers(0, 2**64, 3000, np.uint64) >> np.uint64(shift)
    keys = some[rng.integers(0, 3000, 10_000)]
    y = rng.integers(0, 4, 10_000).astype(np.int32)
    one = splits.folds(y, keys, 7, seed=3)
    other = splits.folds(y, keys, 7, seed=3, place=Disk(folder=tmp_path))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype


@pytest.mark.parametrize("kind", ["parquet", "csv", "parts", "npz", "idx", "images"])
def test_a_file_that_passed_in_is_not_read_again(tmp_path, caplog, kind):
    (uri, more), cache = written_or_drawn(tmp_path, kind), tmp_path / "cache"

    def again():
        caplog.clear()
        with caplog.at_level("INFO"):
            found = load(uri, feed="stream", cache=str(cache), **more)
        return found, sum("in --cache" in line for line in caplog.messages)

    (one, none), (other, every) = again(), again()
    same(load(uri, feed="memory", **more), one)
    same(load(uri, feed="memory", **more), other)
    files = 2 if kind in ("parts", "idx", "images") else 1
    assert (none, every) == (0, files)

    (cache / "rows" / f".{'0' * 32}.1234").write_bytes(b"of a process that was killed")
    rows = min((cache / "rows").glob("*.rows"))
    body = bytearray(rows.read_bytes())
    body[len(body) // 2] ^= 1
    rows.write_bytes(body)
    mended, hits = again()
    assert (mended.digest, hits) == (one.digest, files - 1)
    assert again()[1] == files
    assert {path.suffix for path in (cache / "rows").iterdir()} == {".rows", ".json"}


def test_the_cache_keeps_what_was_used_last(tmp_path):
    """On a disk of 24 MB, of which it may take half."""
    mount = tmp_path / "disk"
    mount.mkdir()
    rng = np.random.default_rng(0)
    megabytes = {"a": 4.4, "b": 4.4, "c": 4.4, "all": 13}
    with disks.disk(mount) as disk:
        folder = disk.seen / "cache"

        def files():
            return set((folder / "rows").glob("*"))

        def read(name):
            for path in files():
                os.utime(path, (path.stat().st_atime - 60, 0))
            rows = int(megabytes[name] * 1000)
            x, y = rng.integers(0, 256, (rows, 20, 50), np.uint8), np.arange(rows) % 2
            path = tmp_path / f"{name}.npz"
            if not path.exists():
                write_npz(path, x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
            load(path, feed="stream", cache=str(folder))

        (folder / "objects").mkdir(parents=True)
        stale = folder / "objects" / "of.old"
        stale.write_bytes(bytes(1000))
        os.utime(stale, (0, 0))
        read("a")
        first = files()
        read("b")
        both = files()
        read("a")
        assert files() == both > first
        assert stale.exists()
        read("c")
        assert files() > first
        assert both - first - files()  # of what was not used for longest
        assert sum(path.stat().st_size for path in files()) < 12 << 20
        assert not stale.exists()
        third = files()
        read("all")
        assert files()  # what this run has used stays, though it takes more than half
        assert not files() & third


def test_another_way_to_read_a_file_is_another_one_in_the_cache(tmp_path):
    uri, cache = written(tmp_path, "csv"), str(tmp_path / "cache")
    one = load(uri, label="y", feed="stream", cache=cache)
    other = load(uri, label="y", feed="stream", cache=cache, csv=("missing=red",))
    assert one.digest != other.digest
    same(load(uri, label="y", feed="memory", csv=("missing=red",)), other)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_a_part_that_was_cut_off_is_named_with_the_rows_before_it(tmp_path, kind, packing):
    rows = ((f"{i * 7919 % 1000003 / 7:.6f}", i % 99, "yn"[i % 2]) for i in range(20_000))
    if kind == "csv":
        text = "x,count,y\n" + "".join(f"{x},{n},{y}\n" for x, n, y in rows)
    else:
        text = "".join(f'{{"x": {x}, "count": {n}, "y": "{y}"}}\n' for x, n, y in rows)
    if packing == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as out:
            out.write(text.encode())
        body = sink.getvalue().to_pybytes()
    else:
        body = {"gz": gzip, "bz2": bz2, "xz": lzma}[packing].compress(text.encode())
    (tmp_path / f"1.{kind}.{packing}").write_bytes(body)
    (tmp_path / f"2.{kind}.{packing}").write_bytes(body[: len(body) * 9 // 10])
    said = []
    for feed in ("memory", "stream"):
        with pytest.raises(DataError, match=r"2\..*: after [\d,]+ (rows|lines): ") as caught:
            load(tmp_path, label="y", feed=feed, cache=str(tmp_path / "cache"))
        said.append(caught.value.message)
    assert said[0] == said[1]
    kept = [path.name for path in (tmp_path / "cache" / "rows").iterdir()]
    assert len([name for name in kept if name[0] == "."]) == 0

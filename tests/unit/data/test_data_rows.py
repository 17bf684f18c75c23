import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from data_files import arrays, idx_bytes, refused, write_npz
from pyarrow import parquet

from job import data
from job.errors import DataError, DataNotFound

X = np.arange(100 * 6, dtype=np.int64).reshape(100, 6) * 7 % 251


def read(path, dtype="uint8", shape=(3, 2), block_rows=32):
    return list(
        data.rows(
            str(path), shape=shape, dtype=dtype, scratch=Path("/nowhere"), block_rows=block_rows
        )
    )


def write(path, x=X):
    """The rows in the format that the name says."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        body = "".join(",".join(map(str, row)) + "\n" for row in x.tolist()).encode()
    elif name.endswith((".jsonl", ".ndjson")):
        lines = (dict(zip("abcdef", row, strict=True)) for row in x.tolist())
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    elif name.endswith(".parquet"):
        table = pa.table({f"c{i}": x[:, i] for i in range(x.shape[1])})
        parquet.write_table(table, path, row_group_size=7)
        return path
    elif name.endswith(".npy"):
        np.save(path, x)
        return path
    elif name.endswith(".npz"):
        return write_npz(path, x=x.reshape(-1, 3, 2))
    else:
        body = idx_bytes(x.astype(np.uint8).reshape(-1, 3, 2))
    path.write_bytes(gzip.compress(body) if path.name.endswith(".gz") else body)
    return path


FORMATS = ["a.csv", "a.csv.gz", "a.jsonl", "a.ndjson", "a.jsonl.gz", "a.parquet", "a.npy", "a.npz"]
FORMATS += ["t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz"]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_blocks(tmp_path, name, dtype):
    blocks = read(write(tmp_path / name), dtype)
    assert [block.shape for block in blocks] == [(32, 3, 2)] * 3 + [(4, 3, 2)]
    assert {block.dtype for block in blocks} == {np.dtype(dtype)}
    np.testing.assert_array_equal(np.concatenate(blocks), X.reshape(-1, 3, 2))


def test_blocks_that_were_yielded_stay_as_they_are(tmp_path):
    first, second, *_ = read(write(tmp_path / "a.npy"))
    np.testing.assert_array_equal(first.reshape(-1, 6), X[:32])
    np.testing.assert_array_equal(second.reshape(-1, 6), X[32:64])


def test_the_array_of_an_npz_file_is_x_or_x_test_or_the_only_one(tmp_path):
    path, parts = tmp_path / "a.npz", arrays()
    for keys in (["x_test", "y_test", "x_train"], ["images"]):
        write_npz(path, **{key: parts.get(key, parts["x_test"]) for key in keys})
        np.testing.assert_array_equal(np.concatenate(read(path)), parts["x_test"])
    write_npz(path, x_test=parts["x_test"], x=parts["x_train"])
    np.testing.assert_array_equal(np.concatenate(read(path)), parts["x_train"])
    with refused(DataError, "'images', 'names'"):
        read(write_npz(path, images=parts["x_test"], names=parts["y_test"]))


def test_fortran_order_is_put_right(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(X))
    np.testing.assert_array_equal(np.concatenate(read(tmp_path / "a.npy")), X.reshape(-1, 3, 2))


ROWS = "1,2,3\n4,5,6\n"


@pytest.mark.parametrize(
    "text",
    [
        ROWS,
        "a,b,c\n" + ROWS,
        '"a","b, too","c"\r\n' + ROWS,
        "\ufeffa,b,c\n" + ROWS,
        "0,1,2\n" + ROWS,
        "\n\n" + ROWS + "\n\n",
        ROWS.rstrip(),
        '"1","2","3"\n4,5.0,6e0\n',
    ],
)
def test_a_header_is_told_from_a_row(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    (block,) = read(tmp_path / "a.csv", shape=(3,))
    assert block.tolist() == [[1, 2, 3], [4, 5, 6]]


def lines(name, bad, at=40):
    """A file of 60 rows of three numbers, of which one line is bad."""
    good = "1,2,3" if name.endswith(".csv") else '{"a": 1, "b": 2, "c": 3}'
    return "\n".join([good] * at + [bad] + [good] * 20).encode()


BAD_LINES = [
    ("a.csv", "1,2", ["missing value", "row 40"]),
    ("a.csv", "1,2,3,4", ["missing value", "row 40"]),
    ("a.csv", "1,cat,3", ["'cat'", "row 40"]),
    ("a.csv", "1,,3", ["missing value", "row 40"]),
    ("a.csv", "1,nan,3", ["nan", "row 40"]),
    ("a.csv", "1,1e39,3", ["1e+39", "row 40"]),
    ("a.csv", "1,\0,3", ["row 40"]),
    ("a.csv", "1,1_0,3", ["row"]),
    ("a.csv", '1,"2,3', ["row"]),
    ("a.csv", "1,2," + "3" * 200_000, ["row 40"]),
    ("a.csv", "1,2," + " " * (2 << 20), ["row"]),
    ("a.jsonl", '{"a": 1, "b": 2}', ["missing value", "row 40"]),
    ("a.jsonl", '{"a": 1, "b": 2, "d": 3}', ["4 columns"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": "x"}', ["'x'", "row 40"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": null}', ["missing value", "row 40"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": true}', ["'true'", "row 40"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": [3]}', ["[3]", "line 41"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": 1e999}', ["inf", "row 40"]),
    ("a.jsonl", "[1, 2, 3]", ["line 41"]),
    ("a.jsonl", '{"a": 1, ', ["line 41"]),
    ("a.jsonl", "[" * 100_000, ["line 41"]),
    ("a.jsonl", '{"a": 1, "b": 2, "c": ' + "3" * (3 << 20) + "}", ["a.jsonl"]),
]


@pytest.mark.parametrize(("name", "bad", "words"), BAD_LINES)
def test_a_bad_line_is_refused_with_its_row(tmp_path, name, bad, words):
    (tmp_path / name).write_bytes(lines(name, bad))
    with refused(DataError, str(tmp_path / name), *words):
        read(tmp_path / name, "float32", shape=(3,))


@pytest.mark.parametrize(("name", "bad", "words"), BAD_LINES)
def test_a_bad_first_line_is_refused_too(tmp_path, name, bad, words):
    (tmp_path / name).write_bytes(lines(name, bad, at=0))
    with refused(DataError, str(tmp_path / name)):
        read(tmp_path / name, "float32", shape=(3,))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.npy", "a.npz", "a.parquet", "a-idx"])
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00garbage", b"PAR1PAR1", b"\x1f\x8b"])
def test_what_is_no_such_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with refused(DataError, str(tmp_path / name)):
        read(tmp_path / name, shape=(3,))


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_file_is_refused(tmp_path, name):
    write(tmp_path / name)
    body = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(body[: len(body) - 7])
    with refused(DataError, str(tmp_path / name)):
        read(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_file_is_not_found(tmp_path, name):
    with refused(DataNotFound, str(tmp_path / name)):
        read(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
def test_rows_of_another_width_are_refused(tmp_path, name):
    with refused(DataError, str(tmp_path / name)):
        read(write(tmp_path / name), shape=(28, 28))


def test_pixels_must_be_pixels(tmp_path):
    for name, value in (("a.npy", 256), ("b.csv", -1), ("c.parquet", 1000)):
        x = X.copy()
        x[50, 4] = value
        with refused(DataError, "whole numbers from 0 to 255", f"{value}", "row 50", "(4,)"):
            read(write(tmp_path / name, x))
        assert len(read(tmp_path / name, "float32")) == 4


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"a": ["1", "x"], "b": [1, 2]}, "'x' in row 1"),
        ({"a": [[1], [2]], "b": [1, 2]}, "list"),
        ({"a": [1, None], "b": [1, 2]}, "a missing value in row 1"),
        ({"a": [1.0, float("nan")], "b": [1, 2]}, "a missing value in row 1"),
        ({"a": [1, 2]}, "2 columns"),
    ],
)
def test_parquet_columns_must_be_numbers(tmp_path, columns, word):
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with refused(DataError, word):
        read(tmp_path / "a.parquet", "float32", shape=(2,))


def test_parquet_columns_of_several_numeric_types_are_read(tmp_path):
    columns = {"a": pa.array([1, 2], pa.int8()), "b": pa.array([0.5, 1.5], pa.float64())}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    (block,) = read(tmp_path / "a.parquet", "float32", shape=(2,))
    assert block.tolist() == [[1, 0.5], [2, 1.5]]


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("a.npy", 16), ("a.npz", 16), ("a-idx3-ubyte.gz", 16), ("a.csv", 256), ("a.parquet", 128)],
)
def test_memory_stays_flat(tmp_path, name, megabytes):
    """50 MB of bytes or 100 MB of floats pass; the process grows by far less."""
    few = np.random.default_rng(0).integers(0, 256, (16, 784)).astype(np.uint8)
    rows = {"a.csv": 16_000, "a.parquet": 32_000}.get(name, 64_000)
    x = np.tile(few, (rows // 16, 1))
    if name == "a.npz":
        write_npz(tmp_path / name, x=x)
    elif name == "a.parquet":
        table = pa.table({f"c{i}": x[:, i].astype(np.float32) for i in range(784)})
        parquet.write_table(table, tmp_path / name)
    elif name == "a.csv":
        text = "".join(",".join(map(str, row)) + "\n" for row in few.tolist())
        (tmp_path / name).write_text(text * 1000)
    elif name == "a.npy":
        np.save(tmp_path / name, x)
    else:
        (tmp_path / name).write_bytes(gzip.compress(idx_bytes(x), 1))
    code = """
import re, sys
from pathlib import Path
import numpy, pyarrow.compute, pyarrow.csv, pyarrow.parquet
import job.data.table.load
from job import data
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
blocks = data.rows(
    sys.argv[1], shape=(28, 28), dtype="uint8", scratch=Path("none"), block_rows=1024
)
print(sum(map(len, blocks)), peak() - before)
"""
    command = [sys.executable, "-c", code, str(tmp_path / name)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == rows
    assert kilobytes < megabytes << 10

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from data_files import load, refused, write_idx

from job.data.sources import mnist
from job.errors import DataError, DataNotFound


@pytest.fixture(scope="module")
def dataset():
    return load("mnist", split=0.2)


def test_mnist_has_its_canonical_rows_in_their_order(dataset):
    assert dataset.train.x.shape == (60000, 28, 28)
    assert dataset.test.x.shape == (10000, 28, 28)
    assert dataset.train.x.dtype == dataset.test.x.dtype == np.uint8
    assert dataset.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(dataset.train.y).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]


def test_there_are_as_many_classes_as_digits_and_not_as_images(dataset):
    assert dataset.classes == tuple(range(10))
    assert dataset.shape == (28, 28)


def test_validation_is_the_last_share_of_the_rows(dataset):
    assert dataset.fit_rows.tolist() == list(range(48000))
    assert dataset.validation_rows.tolist() == list(range(48000, 60000))


def test_the_digest_is_that_of_the_contents_in_any_format(dataset, tmp_path):
    parts = {
        "x_train": dataset.train.x,
        "y_train": dataset.train.y.astype(np.uint8),
        "x_test": dataset.test.x,
        "y_test": dataset.test.y.astype(np.uint8),
    }
    folder = write_idx(tmp_path / "idx", parts)
    np.savez(tmp_path / "mnist.npz", **(parts | {"y_train": dataset.train.y.astype(np.int64)}))
    assert load(folder).digest == load(tmp_path / "mnist.npz").digest == dataset.digest
    parts["x_test"] = np.bitwise_xor(dataset.test.x, 1)
    assert load(write_idx(folder, parts)).digest != dataset.digest


def test_the_files_are_checked_whenever_they_are_read(tmp_path):
    for path in mnist.FOLDER.glob("*.gz"):
        shutil.copyfile(path, tmp_path / path.name)
    assert len(mnist.read("test", tmp_path).labels) == 10000
    same_shape = mnist.read("test", tmp_path)
    altered = np.roll(same_shape.labels, 1)
    write_idx(tmp_path, {"y_test": altered}, packed=True)
    with refused(DataError, mnist.SHA256["t10k-labels-idx1-ubyte"], "t10k-labels"):
        mnist.read("test", tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with refused(DataNotFound, "t10k-labels"):
        mnist.read("test", tmp_path)


def test_the_embedded_files_are_the_ones_of_the_licence_note():
    note = (mnist.FOLDER / "README.md").read_text()
    for name, digest in mnist.SHA256.items():
        assert f"{digest}  {name}" in note
    assert "CC BY-SA 3.0" in note
    assert len(list(mnist.FOLDER.glob("*.gz"))) == 4


def test_reading_loads_no_heavy_library_and_takes_little_more_memory_than_the_data():
    code = """
import json, re, sys
from pathlib import Path
import numpy
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
from job import data
data.load("mnist", test_uri=None, validation_split=0.2, scratch=Path("none"))
heavy = [m for m in ("tensorflow", "keras", "boto3", "pyarrow") if m in sys.modules]
print(json.dumps([peak() - before, heavy]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    kilobytes, heavy = json.loads(done.stdout)
    assert heavy == []
    assert kilobytes < 1.5 * 70000 * 784 / 1024


def test_two_reads_give_the_same_bytes(dataset):
    again = load("mnist", split=0.2)
    assert again.digest == dataset.digest
    assert (
        hashlib.sha256(again.train.x.data).digest() == hashlib.sha256(dataset.train.x.data).digest()
    )

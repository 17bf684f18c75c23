import gzip
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from data_files import NAMES, arrays, idx_bytes, load, refused, write_idx

from job.errors import AccessDenied, DataError, DataNotFound, StoreError, UsageError


@pytest.fixture
def folder(tmp_path):
    return write_idx(tmp_path / "idx", arrays())


def image_file(folder, packed=False):
    return folder / (NAMES["x_train"] + (".gz" if packed else ""))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files_is_read(tmp_path, packed):
    parts = arrays()
    dataset = load(write_idx(tmp_path / "idx", parts, packed=packed))
    assert dataset.train.x.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train.x, parts["x_train"])
    np.testing.assert_array_equal(dataset.test.x, parts["x_test"])
    np.testing.assert_array_equal(dataset.train.y, parts["y_train"])
    assert dataset.classes == (0, 1, 2, 3)
    assert dataset.train.y.dtype == np.int32


def test_the_digest_does_not_depend_on_the_packing(tmp_path):
    digests = {load(write_idx(tmp_path / str(p), arrays(), packed=p)).digest for p in (True, False)}
    assert len(digests) == 1


def test_a_file_named_gz_that_a_browser_has_unpacked_is_read(folder):
    image_file(folder).rename(image_file(folder, packed=True))
    assert len(load(folder).train) == 40


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_other_type_becomes_float32(tmp_path, kind, packed):
    parts = arrays()
    values = np.linspace(-100, 100, 240).reshape(40, 3, 2).astype(kind)
    parts |= {"x_train": values, "x_test": values[:8]}
    dataset = load(write_idx(tmp_path / "idx", parts, packed=packed))
    assert dataset.train.x.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.x, values.astype(np.float32))


def test_images_may_have_other_dimensions_and_names_of_their_like(folder):
    for key, name in {"x_train": "train", "x_test": "t10k"}.items():
        (folder / NAMES[key]).unlink()
        colour = np.zeros((40 if name == "train" else 8, 4, 4, 3), np.float32)
        (folder / f"{name}-images-idx4-float").write_bytes(idx_bytes(colour))
    assert load(folder).shape == (4, 4, 3)


def test_two_files_for_one_part_are_refused(folder):
    (folder / "train-images-idx4-float").write_bytes(b"")
    with refused(DataError, "train-images-idx3-ubyte", "train-images-idx4-float"):
        load(folder)


HEADER = struct.pack(">HBB3I", 0, 8, 3, 40, 3, 2)
BODY = bytes(240)
BAD_FILES = {
    "empty": (b"", "an empty file"),
    "magic": (b"\x01\x00\x08\x03" + HEADER[4:] + BODY, "01 00 08 03"),
    "type": (b"\x00\x00\x0a\x03" + HEADER[4:] + BODY, "00 00 0a 03"),
    "npy": (b"\x93NUMPY", "93 4e 55 4d"),
    "short magic": (b"\x00\x00", "00 00"),
    "half header": (HEADER[:9], "3 dimensions"),
    "no dimensions": (b"\x00\x00\x08\x00", "32 dimensions"),
    "255 dimensions": (b"\x00\x00\x08\xff" + b"\0\0\0\1" * 255 + b"\1", "32 dimensions"),
    "truncated": (HEADER + BODY[:-1], "an early end"),
    "trailing": (HEADER + BODY + b"\0", "more bytes"),
    "no rows": (struct.pack(">HBB3I", 0, 8, 3, 0, 3, 2), "at least one row"),
    "no values": (struct.pack(">HBB3I", 0, 8, 3, 40, 0, 2), "at least one row"),
    "32 GiB": (struct.pack(">HBB2I", 0, 8, 2, 1 << 15, 1 << 20) + BODY, ""),
    "2**96 values": (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3) + BODY, "fits into memory"),
    "float infinity": (idx_bytes(np.full((40, 2), np.inf, np.float32)), "inf in row 0"),
    "float32 overflow": (idx_bytes(np.full((40, 2), 1e39)), "1e+39 in row 0"),
    "flat": (idx_bytes(np.zeros(40, np.uint8)), "at least two dimensions"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_by_name(folder, case, packed):
    content, word = BAD_FILES[case]
    image_file(folder).unlink()
    path = image_file(folder, packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    with refused(DataError, str(path), word):
        load(folder)


PACKED = gzip.compress(idx_bytes(arrays()["x_train"]))
BAD_PACKING = {
    "truncated": PACKED[:-12],
    "no end": PACKED[:-8],
    "wrong checksum": PACKED[:-8] + bytes(8),
    "corrupt": PACKED[:40] + bytes(40) + PACKED[80:],
    "other bytes after it": PACKED + b"garbage",
    "a second member": PACKED + gzip.compress(b"more"),
    "only the magic": PACKED[:2],
}


@pytest.mark.parametrize("case", BAD_PACKING)
def test_bad_packing_is_refused_by_name(folder, case):
    image_file(folder).unlink()
    image_file(folder, packed=True).write_bytes(BAD_PACKING[case])
    with refused(DataError, str(image_file(folder, packed=True))):
        load(folder)


def in_little_memory(folder, megabytes):
    """load(folder) in a process that may allocate only so much; the error it ends with."""
    code = f"""
import resource, sys
from pathlib import Path
from job import data, errors
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {megabytes << 20},) * 2)
try:
    data.load(sys.argv[1], test_uri=None, validation_split=0.2, scratch=Path("none"))
except errors.JobError as error:
    print(type(error).__name__, error)
"""
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_gzip_bomb_is_not_unpacked_further_than_its_header_says(folder):
    image_file(folder).unlink()
    bomb = gzip.compress(HEADER + BODY + bytes(150 << 20), 1)
    image_file(folder, packed=True).write_bytes(bomb)
    assert "DataError" in (said := in_little_memory(folder, 50))
    assert "expected 240 bytes of values, as its header says" in said


def test_an_honest_header_that_asks_for_more_than_the_memory_is_refused(folder):
    image_file(folder).unlink()
    header = struct.pack(">HBB2I", 0, 8, 2, 150, 1 << 20)
    image_file(folder, packed=True).write_bytes(gzip.compress(header + bytes(150 << 20), 1))
    said = in_little_memory(folder, 80)
    assert "DataError" in said
    assert "fits into memory" in said


def test_a_file_larger_than_the_machine_is_refused_before_it_is_read(folder):
    image_file(folder).unlink()
    with image_file(folder).open("wb") as sparse:
        sparse.write(struct.pack(">HBB2I", 0, 8, 2, 1 << 23, 1 << 20))
        sparse.truncate(12 + (1 << 43))
    with refused(StoreError, "room for its rows", "8,388,608 needed"):
        load(folder)
    with refused(DataError, "fits into memory", "8192.0 GiB"):
        load(folder, feed="memory")


def test_a_missing_folder_is_not_found(tmp_path):
    with refused(DataNotFound, "nowhere"):
        load(tmp_path / "nowhere")
    with refused(DataNotFound):
        load("with\0nul")
    with refused(DataNotFound):
        load("long" * 2000)


def test_a_folder_without_the_files_says_what_was_looked_for(tmp_path, folder):
    with refused(DataNotFound, "empty", "none"):
        load(write_idx(tmp_path / "empty", {}))
    (folder / NAMES["y_train"]).unlink()
    with refused(DataNotFound, "train-labels-idx", "t10k-images"):
        load(folder)


def test_a_folder_without_test_files_takes_them_from_elsewhere(tmp_path, folder):
    parts = arrays()
    train_only = write_idx(tmp_path / "train", {k: parts[k] for k in ("x_train", "y_train")})
    (folder / NAMES["y_test"]).unlink()
    with pytest.raises(DataNotFound) as caught:
        load(folder)
    assert "--test-data" in caught.value.hint
    write_idx(folder, parts)
    assert load(train_only, test=folder).digest == load(folder).digest


def test_another_kind_of_file_or_uri_is_refused(tmp_path):
    (tmp_path / "data.bin").write_bytes(b"?")
    with refused(DataError, ".npz"):
        load(tmp_path / "data.bin")
    with pytest.raises(UsageError, match="https") as caught:
        load("https://user:secret@example.org/rows.csv?token=secret")
    assert "curl -fL -o rows.csv" in caught.value.hint
    assert "secret" not in caught.value.message + caught.value.hint
    with refused(UsageError, "gs://"):
        load("gs://bucket/rows.csv")


def test_a_pipe_a_device_and_a_circle_of_links_do_not_hang(folder):
    path = image_file(folder)
    path.unlink()
    os.mkfifo(path)
    with refused(DataError, "a pipe or a device"):
        load(folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with refused(DataError, path.name, "leads out"):
        load(folder)
    path.unlink()
    path.symlink_to(path)
    with refused(DataNotFound):
        load(folder)
    path.unlink()
    path.mkdir()
    with refused(DataNotFound, "train-images-idx"):
        load(folder)


def test_a_file_that_may_not_be_read_is_a_matter_of_access(folder):
    image_file(folder).chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything: be somebody else for a moment
        os.seteuid(65534)
    try:
        with refused(AccessDenied, str(folder)):
            load(folder)
    finally:
        os.seteuid(user)

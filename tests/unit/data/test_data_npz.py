import struct

import numpy as np
import pytest
from data_files import arrays, load, npy_bytes, npy_header, refused, write_npz

from job.errors import DataError, DataNotFound


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_with_the_keys_of_keras_is_read(path, save):
    parts = arrays()
    save(path, **parts)
    dataset = load(path)
    np.testing.assert_array_equal(dataset.train.x, parts["x_train"])
    np.testing.assert_array_equal(dataset.test.x, parts["x_test"])
    assert dataset.train.x.dtype == np.uint8
    assert dataset.uri == str(path)


@pytest.mark.parametrize(
    "dtype", ["?", "<i8", ">i4", "<u2", "<f2", "<f8", ">f8", "<f4", ">f4", "g"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_other_numbers_become_float32_in_either_order(path, dtype, order):
    parts = arrays()
    values = np.asarray((parts["x_train"] % 7).astype(dtype), order=order)
    write_npz(path, **(parts | {"x_train": values, "x_test": values[:8]}))
    dataset = load(path)
    assert dataset.train.x.dtype == np.float32
    np.testing.assert_array_equal(dataset.train.x, values.astype(np.float32))
    assert load(path).digest == dataset.digest


def test_rows_that_take_several_blocks_arrive_in_order(path):
    x = np.arange(3000 * 500, dtype=np.int32).reshape(3000, 500)
    y = np.arange(3000) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    np.testing.assert_array_equal(load(path).train.x, x.astype(np.float32))
    np.savez(path, x_train=np.asfortranarray(x), y_train=y, x_test=x[:9], y_test=y[:9])
    np.testing.assert_array_equal(load(path).train.x, x.astype(np.float32))


def test_without_test_rows_both_ways_to_give_them_are_told(path, tmp_path):
    parts = arrays()
    write_npz(path, **{key: parts[key] for key in ("x_train", "y_train", "x_test")})
    with pytest.raises(DataError, match="x_test and y_test") as caught:
        load(path)
    assert "x_test" in caught.value.hint
    assert "--test-data" in caught.value.hint
    plain = write_npz(tmp_path / "test.npz", x=parts["x_test"], y=parts["y_test"])
    whole = write_npz(tmp_path / "whole.npz", **parts)
    assert load(path, test=plain).digest == load(path, test=whole).digest == load(whole).digest


def test_missing_keys_are_named(path):
    with refused(DataError, "x_train", "y_train", "'images'"):
        load(write_npz(path, images=np.zeros(3)))
    with refused(DataError, "an empty archive"):
        load(write_npz(path))
    with refused(DataNotFound, "other.npz"):
        load(path.with_name("other.npz"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((40, 2), np.nan), ["nan in row 0"]),
        (np.where(np.arange(80).reshape(40, 2) == 7, np.inf, 1.0), ["inf in row 3", "(1,)"]),
        (np.where(np.arange(80).reshape(40, 2) == 9, -1e39, 1.0), ["-1e+39 in row 4"]),
        (np.zeros((40, 2), complex), ["complex128"]),
        (np.full((40, 2), "1"), ["<U1"]),
        (np.zeros((40, 2), "M8[s]"), ["datetime64"]),
        (np.zeros(40, [("a", "f4"), ("b", "f4")]), ["'a'"]),
        (np.array([[1], [2, 3]] * 20, object), ["pickled"]),
        (np.array(1.0), ["32 dimensions"]),
        (np.zeros(40), ["at least two dimensions"]),
        (np.zeros((0, 3)), ["at least one row"]),
        (np.zeros((40, 0)), ["at least one row"]),
        (np.zeros((39, 3), np.uint8), ["39 rows", "40 labels"]),
        (np.zeros((40, 3), np.uint8), ["(3,)", "(3, 2)"]),
    ],
)
def test_inputs_that_are_no_finite_numbers_are_refused(path, values, words):
    write_npz(path, **(arrays() | {"x_train": values}))
    with refused(DataError, str(path), *words):
        load(path)


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (40, 6), }"
BAD_ARRAYS = {
    "32 GiB": npy_header(HEADER.replace("(40, 6)", "(4294967296, 8)")),
    "negative": npy_header(HEADER.replace("40", "-40")) + bytes(240),
    "huge numbers": npy_header(HEADER.replace("40", "9" * 4000)),
    "no values": npy_header(HEADER),
    "one too few": npy_header(HEADER) + bytes(239),
    "one too many": npy_header(HEADER) + bytes(241),
    "no header": b"\x93NUMPY\x01\x00",
    "nothing": b"",
    "text": b"x,y\n1,2\n",
    "version 3": npy_header(HEADER, (3, 0)),
    "version 9": npy_header(HEADER, (9, 9)),
    "long header": npy_header(HEADER + " " * 60000),
    "endless header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * (1 << 24),
    "open string": npy_header("{'descr': '"),
    "open bracket": npy_header("{'descr': ((((((("),
    "nested": npy_header("(" * 5000 + ")" * 5000),
    "signs": npy_header("-" * 9000 + "1"),
    "no dict": npy_header("[1, 2]"),
    "missing key": npy_header("{'descr': '|u1'}"),
    "other dtype": npy_header(HEADER.replace("|u1", "|z9")) + bytes(240),
    "no size": npy_header(HEADER.replace("|u1", "|V0")),
    "strange descr": npy_header(HEADER.replace("'|u1'", "{1: 2}")),
    "empty descr": npy_header(HEADER.replace("'|u1'", "[]")),
    "tuple descr": npy_header(HEADER.replace("'|u1'", "('|u1', (9, 9))")) + bytes(240 * 81),
    "code": npy_header(HEADER.replace("'|u1'", "__import__('os').abort()")),
    "bad shape": npy_header(HEADER.replace("(40, 6)", "('40', 6)")),
    "warning": npy_header(HEADER.replace("(40, 6)", "1 (2)")),
    "33 dimensions": npy_header(HEADER.replace("(40, 6)", "(" + "1, " * 33 + ")")) + b"1",
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_a_hostile_array_is_refused_by_name(path, case, key):
    write_npz(path, **(arrays() | {key: BAD_ARRAYS[case]}))
    with refused(DataError, f"{path}: {key}"):
        load(path)


def test_pickles_are_never_loaded(path, tmp_path):
    trace = tmp_path / "was-here"

    class Bomb:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    np.savez(path, **(arrays() | {"x_train": np.array([Bomb()], object)}))
    with refused(DataError, "pickled"):
        load(path)
    assert not trace.exists()


def patched(path, **fields):
    """Rewrites fields of the central and the local header of every member."""
    body = bytearray(path.read_bytes())
    offsets = {  # of the field in the central header, in the local one, and its format
        "flags": (8, 6, "<H"),
        "method": (10, 8, "<H"),
        "crc": (16, 14, "<I"),
        "packed": (20, 18, "<I"),
        "size": (24, 22, "<I"),
        "version": (6, 4, "<H"),
    }
    for signature, side in ((b"PK\x01\x02", 0), (b"PK\x03\x04", 1)):
        at = body.find(signature)
        while at >= 0:
            for field, value in fields.items():
                struct.pack_into(offsets[field][2], body, at + offsets[field][side], value)
            at = body.find(signature, at + 4)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"flags": 1}, "encrypted"),
        ({"flags": 0x40}, "strong encryption"),
        ({"flags": 0x20}, "patched data"),
        ({"method": 12}, ""),
        ({"method": 14}, ""),
        ({"method": 99}, ""),
        ({"crc": 1}, "CRC-32"),
        ({"version": 999}, "zip file version"),
        ({"size": 10}, ""),
        ({"packed": 3}, ""),
    ],
)
def test_a_zip_archive_that_lies_is_refused(path, fields, word):
    write_npz(path, **arrays())
    with refused(DataError, str(path), word):
        load(patched(path, **fields))


def test_a_zip_bomb_is_not_unpacked_further_than_it_announces(path):
    header = npy_header(HEADER)
    write_npz(path, **(arrays() | {"x_train": header + bytes(240) + bytes(64 << 20)}))
    with refused(DataError, "more bytes"):
        load(path)
    with refused(DataError):
        load(patched(path, size=len(header) + 240))


def test_not_a_zip_archive(path):
    path.write_bytes(b"")
    with refused(DataError, "not a zip file"):
        load(path)
    path.write_bytes(npy_bytes(np.zeros(3)))
    with refused(DataError, "not a zip file"):
        load(path)
    whole = write_npz(path, **arrays()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with refused(DataError):
        load(path)
    path.unlink()
    path.mkdir()
    with refused(DataNotFound):
        load(path)


def test_names_that_climb_are_names_like_any_other(path, tmp_path):
    write_npz(path, **{"../../x_train": np.zeros(3), "/etc/y_train": np.zeros(3)})
    with refused(DataError, "'../../x_train'"):
        load(path)
    assert list(tmp_path.iterdir()) == [path]

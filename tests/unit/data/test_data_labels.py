import json
from pathlib import Path

import numpy as np
import pytest
from data_files import arrays, load, npy_header, refused, write_npz

from job import data
from job.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def with_labels(path, names, **changes):
    """The small data set with its four labels replaced."""
    parts = arrays()
    names = np.asarray(names)
    labels = {key: names[parts[key]] for key in ("y_train", "y_test")}
    return write_npz(path, **(parts | labels | changes))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ([3, 1, 2, 60000], (1, 2, 3, 60000)),
        ([-5, 7, -(2**63), 2**63 - 1], (-(2**63), -5, 7, 2**63 - 1)),
        (np.array([0, 2**64 - 1, 5, 6], np.uint64), (0, 5, 6, 2**64 - 1)),
        (np.array([1, 2, 3, 4], ">i2"), (1, 2, 3, 4)),
        ([True, False, True, False], (0, 1)),
        (["dog", "cat", "Äpfel", "a\nb"], ("a\nb", "cat", "dog", "Äpfel")),
        ([b"dog", b"cat", "Ä".encode(), b""], ("", "cat", "dog", "Ä")),
        (["10", "9", "1", "2"], ("1", "10", "2", "9")),
    ],
)
def test_classes_are_the_labels_found_sorted_as_python_values(path, names, classes):
    dataset = load(with_labels(path, names))
    assert dataset.classes == classes
    assert [type(label) for label in dataset.classes] == [type(label) for label in classes]
    json.dumps(dataset.classes)
    truth = [classes.index(n.decode() if isinstance(n, bytes) else n) for n in names]
    assert dataset.train.y[:4].tolist() == truth
    assert dataset.test.y[:4].tolist() == truth


def test_one_label_a_row_may_stand_in_a_column(path):
    plain = load(with_labels(path, [1, 2, 3, 4]))
    column = arrays()["y_train"].reshape(-1, 1) + np.int64(1)
    assert load(with_labels(path, [1, 2, 3, 4], y_train=column)).digest == plain.digest


@pytest.mark.parametrize(
    ("labels", "received", "hint"),
    [
        (np.eye(4)[np.arange(40) % 4], "float64", "argmax"),
        (np.eye(4, dtype=np.uint8)[np.arange(40) % 4], "(40, 4)", "argmax"),
        (np.arange(40) % 4 * 1.0, "float64", "astype"),
        (np.array(["a", None] * 20, object), "pickled", "astype"),
        (np.zeros(40, complex), "complex128", "astype"),
        (np.zeros((40, 1, 2), int), "(40, 1, 2)", "argmax"),
        (np.arange(39) % 4, "39 labels", "belong together"),
        (np.zeros(40, int), "only the label 0, in all 40 rows", "right array"),
        (np.full(40, "\ud800"), "surrogates", "strings"),
        (np.full(40, b"\xff"), "can't decode", "strings"),
        (np.full(40, "x" * 999), "xxx…", "right array"),
    ],
)
def test_what_is_no_class_label_is_refused_with_advice(path, labels, received, hint):
    with pytest.raises(DataError) as caught:
        load(with_labels(path, [0, 1, 2, 3], y_train=labels))
    assert str(path) in caught.value.message
    assert received in caught.value.message.partition("Received: ")[2]
    assert hint in caught.value.hint


def test_numbers_that_are_no_characters_are_refused(path):
    header = npy_header("{'descr': '<U1', 'fortran_order': False, 'shape': (40,), }")
    with refused(DataError, "valid Unicode"):
        load(with_labels(path, [0, 1, 2, 3], y_train=header + b"\xff\xff\xff\x7f" * 40))


def test_a_test_label_never_seen_in_training_is_named_with_its_row(path):
    labels = np.array(["0", "1", "cat", "0", "1", "cat", "dog\n", "2"])
    with refused(DataError, "'cat', 'dog\\n'", "in 3 rows", "'cat' in row 2"):
        load(with_labels(path, ["0", "1", "2", "3"], y_test=labels))
    with refused(DataError, "Received: '0', '1', '2'", "in row 0"):
        load(with_labels(path, [0, 1, 2, 3], y_test=np.array(["0", "1", "2", "0"] * 2)))


def test_a_class_for_each_row_is_none(path):
    with refused(DataError, "two training rows for each class", "40 rows and 40 classes"):
        load(write_npz(path, **(arrays() | {"y_train": np.arange(40)})))


def load_test(path, classes=(0, 1, 2, 3), shape=(3, 2), dtype="uint8"):
    test, _ = data.load_test(
        str(path),
        test_uri=None,
        classes=classes,
        shape=shape,
        dtype=dtype,
        scratch=Path("/nowhere"),
    )
    return test


def test_test_rows_are_read_for_the_classes_of_a_model(path):
    parts = arrays()
    write_npz(path, x=parts["x_test"], y=parts["y_test"])
    np.testing.assert_array_equal(load_test(path).y, parts["y_test"])
    np.testing.assert_array_equal(load_test(path, (0, 1, 2, 3, 9)).y, parts["y_test"])
    with refused(DataError, "3, in 2 rows", "row 3"):
        load_test(path, (0, 1, 2))
    with refused(DataError, "(6,)", "(3, 2)"):
        load_test(path, shape=(6,))
    assert load_test(path, dtype="float32").x.dtype == np.float32


def test_test_rows_must_be_what_the_model_was_trained_on(path):
    parts = arrays()
    whole = write_npz(path, x=parts["x_test"].astype(np.int64), y=parts["y_test"])
    assert load_test(whole).x.dtype == np.uint8
    write_npz(path, x=parts["x_test"] / 255, y=parts["y_test"])
    with refused(DataError, "whole numbers from 0 to 255"):
        load_test(path)

import numpy as np
import pytest
from data_files import arrays, load, refused, write_idx, write_npz
from hypothesis import given
from hypothesis import strategies as st

from job import data
from job.config import DataOptions
from job.data.splits import last_share, stratified
from job.errors import DataError


def test_the_last_rows_are_held_out():
    fit, validation = last_share(10, 0.25, "data")
    assert fit.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert validation.tolist() == [7, 8, 9]
    assert fit.dtype == validation.dtype == np.int64


def test_the_last_rows_of_each_class_are_held_out():
    y = np.array([0, 0, 1, 0, 1, 0, 1, 1, 2, 0], np.int32)
    fit, validation = stratified(y, 0.4, "data")
    assert validation.tolist() == [5, 6, 7, 9]
    assert fit.tolist() == [0, 1, 2, 3, 4, 8]
    assert fit.dtype == validation.dtype == np.int64


def test_without_a_share_all_rows_are_fitted():
    assert [len(rows) for rows in last_share(10, 0, "data")] == [10, 0]
    assert [len(rows) for rows in stratified(np.zeros(10, np.int32), 0, "data")] == [10, 0]


def test_an_empty_side_is_refused():
    with refused(DataError, "data", "0 and 5 of 5"):
        last_share(5, 0.9, "data")
    with refused(DataError, "4 and 0 of 4"):
        stratified(np.arange(4, dtype=np.int32), 0.2, "data")


@given(
    y=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0, 1, exclude_max=True),
)
def test_every_row_is_on_one_side_and_every_class_is_fitted(y, share):
    y = np.array(y, np.int32)
    try:
        fit, validation = stratified(y, share, "data")
    except DataError:
        return
    assert sorted([*fit, *validation]) == list(range(len(y)))
    assert set(y[fit]) == set(y)
    assert (np.diff(fit) > 0).all()
    assert (np.diff(validation) > 0).all()
    for label in set(y.tolist()):
        held = (y[validation] == label).sum()
        assert abs(held - share * (y == label).sum()) <= 1


def write(path, parts, form):
    return write_idx(path, parts) if form == "idx" else write_npz(path.with_suffix(".npz"), **parts)


def train_only(rows, **changes):
    parts = arrays(rows) | changes
    return {key: parts[key] for key in ("x_train", "y_train")}


@pytest.mark.parametrize("form", ["idx", "npz"])
def test_arrays_without_test_rows_hold_out_a_share_by_a_hash(tmp_path, form):
    half, whole = train_only(400), train_only(800)
    assert (whole["x_train"][:400] == half["x_train"]).all()
    before = load(write(tmp_path / "a", half, form))
    after = load(write(tmp_path / "b", whole, form))
    assert (before.held_out_of, after.held_out_of) == (400, 800)
    assert len(after.train) + len(after.test) == 800
    assert len(after.test) == pytest.approx(160, abs=40)
    assert after.duplicates == 0
    for side in ("train", "test"):  # a row stays on its side when the data grows
        small, large = ({x.tobytes() for x in getattr(d, side).x} for d in (before, after))
        assert small < large
    truth = {x.tobytes(): y for x, y in zip(whole["x_train"], whole["y_train"], strict=True)}
    assert [truth[x.tobytes()] for x in after.test.x] == after.test.y.tolist()
    scored, [told] = data.load_test(
        str(tmp_path / ("b" if form == "idx" else "b.npz")), test_uri=None, classes=after.classes,
        shape=(3, 2), dtype="uint8", scratch=tmp_path,
    )  # fmt: skip
    np.testing.assert_array_equal(scored.x, after.test.x)
    assert (told.code, told.count, told.of) == ("held-out-share", len(after.test), 800)


def test_a_label_among_the_held_out_rows_alone_is_left_out_with_a_finding(tmp_path):
    parts = train_only(60)
    test = load(write_npz(tmp_path / "a.npz", **parts)).test
    [at] = [i for i, x in enumerate(parts["x_train"]) if (x == test.x[-1]).all()]
    parts["y_train"][at] = 99
    dataset = load(write_npz(tmp_path / "a.npz", **parts))
    np.testing.assert_array_equal(dataset.test.x, test.x[:-1])
    lost = [finding for finding in dataset.findings if finding.code == "lost-class"]
    assert [(finding.column, finding.count) for finding in lost] == [("99", 1)]


def test_too_few_rows_to_hold_any_out_are_refused(tmp_path):
    path = write_npz(tmp_path / "a.npz", **train_only(40))
    with refused(DataError, "enough rows", "a test split of 1e-09", "40 and 0"):
        data.load(
            str(path), test_uri=None, validation_split=0.0, scratch=tmp_path,
            reading=DataOptions(test_split=1e-9),
        )  # fmt: skip
    with refused(DataError, "one label for each of the 40 rows"):
        load(write_npz(tmp_path / "a.npz", **train_only(40, y_train=np.zeros(30, np.uint8))))

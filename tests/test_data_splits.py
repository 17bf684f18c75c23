import numpy as np
from data_files import refused
from hypothesis import given
from hypothesis import strategies as st

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

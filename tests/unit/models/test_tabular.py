import dataclasses

import numpy as np
import pytest
import tiny

from job import models
from job.config import Config
from job.errors import DeviceOutOfMemory, UsageError
from job.models import members, plan, tabular


def test_bins_hold_equal_shares_of_the_rows_and_repeated_values_are_one_edge():
    rng = np.random.default_rng(0)
    numbers = np.stack(
        [rng.normal(size=3000), rng.integers(0, 4, 3000), np.where(rng.random(3000) < 0.9, 0, 1)],
        axis=1,
    ).astype(np.float32)
    numbers[:100, 0] = np.nan
    found = tabular.bins(numbers)
    assert found.low.shape == (3, 50)
    np.testing.assert_allclose(found.mass[0], 1 / 50, atol=0.002)
    assert found.scale[1].tolist()[:4] == [1, 1, 1, 0]
    assert found.scale[2].tolist()[:2] == [1, 0]
    np.testing.assert_allclose(found.below[2], 0.45, atol=0.02)  # half of the zeros
    np.testing.assert_allclose((found.below + found.mass.sum(axis=1))[0], 1, atol=0.01)


@pytest.mark.parametrize(("columns", "bins"), [(1, 41), (30, 7)])
def test_the_rows_beside_a_value_that_many_have_share_the_bins(columns, bins):
    numbers = np.concatenate([np.zeros(3600), np.random.default_rng(0).lognormal(size=400)])
    found = tabular.bins(np.repeat(numbers[:, None], columns, axis=1).astype(np.float32))
    assert np.count_nonzero(found.scale[0]) == bins  # of 10 rows each or, beside many numbers, 60
    assert found.low[0, 0] == 0
    np.testing.assert_allclose(found.mass[0, 1:], 0.1 / (bins - 1), rtol=0.1)
    np.testing.assert_allclose(found.below[0] + found.mass[0].sum(), 1, atol=0.001)


def test_a_number_that_is_missing_in_all_rows_has_no_bins():
    numbers = np.full((600, 2), np.nan, np.float32)
    numbers[:, 0] = np.arange(600)
    found = tabular.bins(numbers)
    assert found.scale.any(axis=1).tolist() == [True, False]
    assert found.below.tolist()[1] == 0.5
    assert not tabular.bins(numbers[:, 1:]).scale.any()


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_few_rows_have_few_bins(rows):
    found = tabular.bins(np.arange(rows, dtype=np.float32)[:, None])
    assert np.isfinite(found.scale).all()
    assert found.low.shape[1] <= max(2, rows // 10)


@pytest.mark.parametrize(
    ("rows", "columns", "most"),
    [
        (300, 5, 30),
        (2000, 5, 48),
        (6000, 5, 100),
        (10**6, 2, 192),
        (10**6, 20, 25),
        (10**6, 99, 24),
    ],
)
def test_a_number_has_more_bins_on_more_rows_and_fewer_beside_many_numbers(rows, columns, most):
    assert tabular.most_bins(rows, columns) == most


@pytest.mark.parametrize(
    ("rows", "features", "smaller"),
    [
        (1000, 400, {}),
        (13_500, 540, {"epochs": 104}),
        (36_000, 600, {"members": 5, "hidden": (128,) * 3, "epochs": 63}),
        (90_000, 650, {"members": 2, "hidden": (128,) * 3, "epochs": 59}),
        (5_000_000, 650, {"members": 2, "hidden": (64,) * 3, "epochs": 40}),
    ],
)
def test_a_processor_is_given_less_on_many_rows(rows, features, smaller):
    found, reasons = plan.for_processor(rows, features, 256)
    assert found == smaller
    assert len(reasons) == bool(smaller)
    for reason in reasons:
        assert f"{found['epochs']} epochs at most in place of 256: {rows:,} rows" in reason
        assert ("members of" in reason) == ("members" in smaller)
    found, reasons = plan.for_processor(rows, features, None)
    assert "epochs" not in found
    assert not any("epochs at most" in reason for reason in reasons)


def test_the_network_of_a_table_wants_a_table():
    dataset = tiny.corners()
    with pytest.raises(UsageError, match="--data is no table"):
        plan.decide(Config.of(model="tabular"), dataset, gpu=False)


def test_auto_is_the_reference_network_for_arrays():
    settled = plan.decide(Config(), tiny.corners(), gpu=False)
    assert settled.config == plan.reference(Config()).replaced(model="mlp", feed="memory")
    assert settled.chosen["hidden"] == (350, 50)


def test_what_is_set_is_kept():
    settled = plan.decide(Config.of(epochs=3, hidden=(5,)), tiny.corners(), gpu=False)
    assert (settled.config.training.epochs, settled.config.model.hidden) == (3, (5,))
    assert "epochs" not in settled.chosen


def test_a_network_that_nothing_validates_has_no_patience():
    options = Config.of(model="mlp", members=2, epochs=5)
    assert plan.decide(options, tiny.corners(), gpu=False).config.training.patience == 4
    alone = Config.of(model="mlp", members=1, validation_split=0.0)
    assert plan.decide(alone, tiny.corners(), gpu=False).config.training.patience is None


@pytest.mark.parametrize(
    "options",
    [
        {"members": 1, "hidden": (1_000_000, 1_000_000)},
        {"members": 1000, "hidden": (100_000, 100_000)},
        {"model": "cnn", "hidden": (100_000, 100_000)},
    ],
)
def test_a_network_that_memory_does_not_hold_is_an_error_before_training(options):
    settled = plan.decide(Config.of(**options), tiny.corners(), gpu=False).config
    with pytest.raises(DeviceOutOfMemory, match=r"--members, --hidden: expected .* GiB in train"):
        models.build(settled, tiny.corners())


def test_a_rare_class_has_fewer_folds_and_the_plan_says_so():
    dataset = tiny.corners(240, 0)
    y = dataset.train.y.copy()
    y[np.flatnonzero(y == 0)[4:]] = 1
    rare = dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, y=y))
    options = Config.of(members=5)
    assert members.folds(options, dataset) == members.FOLDS
    settled = plan.decide(options, rare, gpu=False)
    assert members.folds(settled.config, rare) == 4
    assert "4 folds in turn, not 5" in settled.reasons[0]


def test_rows_count_as_repeated_where_equal_ones_are_of_one_class():
    dataset = tiny.corners(240, 0)
    x, y = dataset.train.x.copy(), dataset.train.y.copy()
    (first, *others), (second, other) = np.flatnonzero(y == 0)[:4], np.flatnonzero(y == 1)[:2]
    x[others], x[other] = x[first], x[second]
    assert tabular.repeated(dataset) == 0
    same = dataclasses.replace(dataset.train, x=x)
    assert tabular.repeated(dataclasses.replace(dataset, train=same)) == 6 / len(y)
    y[other] = 0
    contrary = dataclasses.replace(same, y=y)
    assert tabular.repeated(dataclasses.replace(dataset, train=contrary)) == 4 / len(y)

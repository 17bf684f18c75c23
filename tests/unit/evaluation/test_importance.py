"""Permutation importance: of a known model, beside scikit-learn's, and bounded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from job.config.gate import Metric
from job.data.dataset import Split
from job.data.schema import Column, Schema
from job.evaluation import importance as measured
from job.evaluation.importance import Importance, importance

WEIGHTS = np.array([3.0, 1.0, 0.0, 0.0])


def schema(numbers: int, categories: int = 0) -> Schema:
    codes = [
        Column(name=f"c{i}", kind="category", categories=("x", "y")) for i in range(categories)
    ]
    columns = [Column(name=f"n{i}", kind="number") for i in range(numbers)]
    return Schema(columns=(*codes, *columns), label="y")


class Model(ClassifierMixin, BaseEstimator):
    """A logistic model of the four first numbers and the last code."""

    classes_ = np.array([0, 1])

    def __init__(self) -> None:
        self.calls = 0

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Model":
        return self

    def predict(self, numbers: np.ndarray) -> np.ndarray:
        return self.predict_proba(numbers).argmax(axis=1)

    def predict_proba(self, numbers: np.ndarray) -> np.ndarray:
        self.calls += 1
        yes = 1 / (1 + np.exp(-numbers[:, :4] @ WEIGHTS))
        return np.stack([1 - yes, yes], axis=1).astype(np.float32)

    def __call__(self, x: dict[str, np.ndarray]) -> np.ndarray:
        return self.predict_proba(x["numbers"])


def rows(count: int, numbers: int = 4) -> Split:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, numbers)).astype(np.float32)
    yes = 1 / (1 + np.exp(-x[:, :4] @ WEIGHTS))
    codes = rng.integers(0, 3, (count, 1)).astype(np.int32)
    return Split(x={"numbers": x, "codes": codes}, y=(rng.random(count) < yes).astype(np.int32))


def measure(
    model: Model,
    test: Split,
    columns: Schema,
    *,
    metric: Metric = "accuracy",
    stop: Callable[[], bool] = lambda: False,
) -> Importance | None:
    return importance(
        model,
        test,
        columns,
        probabilities=model(test.x),
        classes=("no", "yes"),
        metric=metric,
        stop=stop,
    )


def of(model: Model, test: Split, columns: Schema, **options: Any) -> Importance:
    found = measure(model, test, columns, **options)
    assert found
    return found


def test_the_columns_of_a_known_model_come_in_their_order() -> None:
    test = rows(900)
    before = {name: array.copy() for name, array in test.x.items()}
    found = of(Model(), test, schema(4, 1))
    assert [each.column for each in found.columns[:2]] == ["n0", "n1"]
    by_name = {each.column: each for each in found.columns}
    assert by_name["n0"].loss_interval[0] > by_name["n1"].loss_interval[1] > 0
    for unused in ("n2", "n3", "c0"):
        assert (by_name[unused].loss, by_name[unused].loss_interval) == (0, (0, 0))
        assert by_name[unused].lost == 0
    assert all((test.x[name] == before[name]).all() for name in before)


def test_scikit_learn_finds_the_same() -> None:
    test, model = rows(900), Model()
    found = {each.column: each for each in of(model, test, schema(4)).columns}
    for scoring, value in (("neg_log_loss", "loss"), ("accuracy", "lost")):
        theirs = permutation_importance(
            model, test.x["numbers"], test.y, scoring=scoring, n_repeats=30, random_state=1
        )
        for i, expected in enumerate(theirs.importances_mean):
            low, high = getattr(found[f"n{i}"], f"{value}_interval")
            assert low <= expected <= high
            assert getattr(found[f"n{i}"], value) == pytest.approx(expected, abs=0.05)


def test_the_interval_holds_what_other_rows_would_show() -> None:
    """Of many test sets, the intervals of nearly all hold the mean over all of them."""
    whole, model = rows(60_000), Model()
    truth = of(model, whole, schema(4)).columns[0].loss
    inside = 0
    for i in range(100):
        some = slice(i * 400, (i + 1) * 400)
        part = Split(x={name: x[some] for name, x in whole.x.items()}, y=whole.y[some])
        low, high = of(model, part, schema(4)).columns[0].loss_interval
        inside += low <= truth <= high
    assert 85 <= inside <= 100


def test_equal_rows_give_equal_figures() -> None:
    test = rows(300)
    assert of(Model(), test, schema(4)) == of(Model(), test, schema(4))


def test_wide_tables_are_bounded() -> None:
    model, test = Model(), rows(5000, numbers=300)
    found = of(model, test, schema(300))
    assert model.calls == 1 + 300 + measured.MEASURED * found.rounds
    assert {"n0", "n1"} <= {each.column for each in found.columns}
    assert len(found.columns) == measured.MEASURED
    assert found.unmeasured == 300 - measured.MEASURED
    assert found.rows * found.rounds * len(found.columns) <= measured.PREDICTIONS


def test_it_stops_when_time_is_over() -> None:
    test, model = rows(300), Model()
    found = of(model, test, schema(4), stop=lambda: model.calls > 4 * 5 + 1)
    assert found.rounds == 5
    assert measure(model, test, schema(4), stop=lambda: True) is None
    wide = schema(measured.MEASURED + 1)
    assert measure(model, rows(300, numbers=len(wide.columns)), wide, stop=lambda: True) is None


def test_a_metric_that_the_rows_do_not_define_is_none() -> None:
    one_class = Split(x=rows(300).x, y=np.zeros(300, np.int32))
    found = of(Model(), one_class, schema(4), metric="roc_auc")
    assert all(each.lost is None and each.lost_interval is None for each in found.columns)

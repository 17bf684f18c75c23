"""Labels, numbers and findings as words."""

import dataclasses

import numpy as np
import pytest
import records
import yaml
from hypothesis import given
from hypothesis import strategies as st

from job import evaluation
from job.evaluation import curves
from job.evaluation.importance import ColumnImportance, Importance
from job.evaluation.threshold import Threshold
from job.report import wording


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100.00%"),
        (0.99999, ">99.99%"),
        (0.99995, "100.00%"),
        (0.9809, "98.09%"),
        (0.00001, "<0.01%"),
        (0.0, "0.00%"),
    ],
)
def test_a_lone_mistake_is_not_rounded_away(share: float, said: str) -> None:
    assert wording.percent(share) == said


@given(st.text())
def test_a_shown_label_is_one_short_printable_line(label: str) -> None:
    shown = wording.shown(label, limit=20)
    assert 1 <= len(shown) <= 22
    assert len(shown.splitlines()) == 1
    assert shown.encode()


@given(st.one_of(st.text(), st.floats(0, 100, width=64)))
def test_a_yaml_scalar_reads_back(value: str | float) -> None:
    assert yaml.safe_load(wording.yaml(value)) == value


def test_a_yaml_scalar_keeps_what_can_be_read() -> None:
    assert wording.yaml("Zürich 数字 🙂") == '"Zürich 数字 🙂"'
    assert wording.yaml('"\u202e\n') == r'"\U00000022\U0000202e\U0000000a"'


@given(st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_top_confusions_are_the_largest_counts(classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, 60).astype(np.int32)
    probabilities = random.random((60, classes)).astype(np.float32)
    metrics = evaluation.evaluate(probabilities, y, tuple(range(classes)))
    counts = np.array(metrics.confusion_matrix)
    np.fill_diagonal(counts, 0)
    top = wording.top_confusions(metrics, limit=3)
    assert [c.count for c in top] == sorted(counts[counts > 0], reverse=True)[:3]
    assert all(counts[c.true, c.said] == c.count for c in top)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.1234, "0.12 s"), (12.34, "12.3 s"), (119.94, "119.9 s"), (150, "2 min 30 s"),
     (7384.6, "2 h 3 min")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert wording.duration(seconds) == said


def test_what_the_learning_curves_say() -> None:
    history = records.invented(epochs=4).history
    worse = dataclasses.replace(history[3], val_loss=0.9)
    text = wording.learning((*history[:3], worse), best_epoch=3, kept_epoch=3)
    assert "lowest after epoch 3" in text
    assert "had risen to 0.900 while training loss kept falling" in text
    assert text.endswith("The published weights are those of epoch 3.")
    earlier = wording.learning(history, best_epoch=4, kept_epoch=2)
    assert "more epochs may still help. The published weights are those of epoch 2." in earlier


def test_the_shares_of_many_classes_in_a_sentence() -> None:
    assert wording.shares(("a", "b"), np.array([0.5, 0.5])) == "They are equally common."
    assert wording.shares(("a", "b", "c"), np.array([0.2, 0.5, 0.3])) == (
        "The most common is “b” with 50.0% of the training rows, the rarest “a” with 20.0%."
    )


@pytest.mark.parametrize(
    ("metric", "lost", "said"),
    [("accuracy", 0.0256, "-2.56"), ("accuracy", -1e-9, "+0.00"), ("log_loss", 0.01, "+0.0100"),
     ("roc_auc", 0.01, "-0.0100")],
)  # fmt: skip
def test_a_score_that_becomes_worse(metric: str, lost: float, said: str) -> None:
    assert wording.worse(metric, lost) == said


def test_what_a_threshold_given_as_a_number_does() -> None:
    y = np.array([0] * 6 + [1] * 4, np.int32)
    yes = np.array([0.1, 0.1, 0.2, 0.2, 0.3, 0.6, 0.2, 0.4, 0.7, 0.9], np.float32)
    found = curves.curves(
        np.stack([1 - yes, yes], axis=1), y, ("no", "yes"), np.array([0.6, 0.4]),
        Threshold(label="yes", value=0.35, rule="0.35"),
    )  # fmt: skip
    assert found
    assert wording.threshold(found, "0.35") == (
        "The answer is “yes” when it has a probability of at least 0.35, as --threshold says. That "
        "finds 3 of 4 test rows of “yes” (75.0%), and 1 of 4 such answers is a false alarm (25.0%)."
    )
    assert wording.gain(found).startswith(
        "The tenth of the rows with the highest probability of “yes” holds 25.0% of it, 2.5 times"
    )


def test_which_class_is_ranked_worst() -> None:
    y = np.array([0, 0, 1, 1, 2, 2], np.int32)
    said = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.7, 0.2, 0.1],
            [0.1, 0.5, 0.4],
            [0.2, 0.2, 0.6],
            [0, 0.3, 0.7],
            [0, 0, 1],
        ],
        np.float32,
    )
    found = curves.hardest(said, y, ("a", "b", "c"), 2)
    assert wording.hardest(found, 3) == (
        "The 2 of 3 classes with the lowest ROC AUC: a row of “b” has a higher probability of “b” "
        "than a row of another class in 81.2% of all pairs."
    )


def test_which_columns_matter_in_a_sentence() -> None:
    def column(name: str, loss: float, low: float) -> ColumnImportance:
        ends = (low, 2 * loss - low)
        return ColumnImportance(
            column=name, loss=loss, loss_interval=ends, lost=None, lost_interval=None
        )

    def said(*columns: ColumnImportance) -> str:
        found = Importance(metric="accuracy", rows=100, rounds=10, columns=columns)
        return wording.importance(found)

    first, second, weak = column("a", 0.3, 0.2), column("b", 0.2, 0.1), column("c", 0.01, -0.1)
    assert said(weak).startswith("No column matters by itself")
    assert said(first) == "The model owes the most to “a”."
    assert said(first, second, weak) == (
        "The model owes the most to “a” and “b”. 2 columns of 3 surely matter; without the rest "
        "it may be as good."
    )

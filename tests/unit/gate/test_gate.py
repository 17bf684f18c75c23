import itertools

import numpy as np
import pytest
from scipy import stats

from job.data.findings import Finding
from job.evaluation.paired import Answers
from job.gate import rules
from job.gate.decision import Rival, compare, decide, quantile
from job.gate.rules import Rules, declining, shuffled, student, useless

Y = (np.arange(10_000) % 10 == 0).astype(np.int32)


def answers(right: np.ndarray, y: np.ndarray = Y) -> Answers:
    """Answers of 0.8 for a class, the true one where `right`."""
    said = np.where(right, y, 1 - y)
    probabilities = np.where(np.arange(2) == said[:, None], 0.8, 0.2)
    return Answers(probabilities=probabilities.astype(np.float32), predicted=said.astype(np.int64))


def pair(gained=0, lost=0, rows=10_000, wrong=1000, role="champion", version=1):
    """A challenger and a rival that differ in so many rows."""
    rank = np.random.default_rng(1).permutation(rows)
    ours, theirs = rank >= wrong + lost, (rank >= wrong + lost) | (rank < lost)
    ours = ours & ~((rank >= wrong + lost) & (rank < wrong + lost))
    theirs = theirs & ~((rank >= wrong + lost) & (rank < wrong + lost + gained))
    rival = Rival(version=version, role=role, answers=answers(theirs, Y[:rows]))
    return answers(ours, Y[:rows]), rival


def verdict(ours=None, rivals=(), *, y=Y, recalls=None, **changes):
    made = changes.pop("rules", Rules())
    return decide(
        answers=ours or pair()[0],
        y=y,
        recalls={"cat": 0.95, "dog": 0.85} if recalls is None else recalls,
        rivals=rivals,
        rules=made,
        **changes,
    )


# The floors


def test_without_floors_and_without_a_champion_every_model_is_promoted():
    said = verdict()
    assert said.promote
    assert said.champion is None
    assert said.reasons == ("No floor is set, and there is no champion to beat.",)


def test_the_floor_itself_is_good_enough():
    assert verdict(rules=Rules(min_accuracy=0.9)).promote
    below = verdict(rules=Rules(min_accuracy=0.9001))
    assert not below.promote
    assert below.reasons == ("Test accuracy 0.9000 is below the floor of 0.9001.",)


def test_every_class_has_its_floor():
    assert verdict(rules=Rules(min_recall=0.85)).promote
    below = verdict(rules=Rules(min_recall=0.86, min_accuracy=0.5))
    assert not below.promote
    assert below.reasons[1] == (
        "The lowest recall, 0.8500 of class dog, is below the floor of 0.8600."
    )


# The comparison


@pytest.mark.parametrize(
    ("gained", "lost", "outcome"),
    [
        (200, 100, "better"),
        (100, 100, "no worse"),
        (100, 108, "no worse"),
        (100, 130, "cannot tell"),
        (100, 200, "worse"),
    ],
)
def test_the_four_outcomes(gained, lost, outcome):
    ours, rival = pair(gained, lost)
    got = compare(ours, rival, Y, Rules())
    assert (got.gained, got.lost) == (gained, lost)
    assert got.outcome == outcome
    assert got.passed == (outcome != "worse")
    assert compare(ours, rival, Y, Rules(when_unsure="keep")).passed == (
        outcome in ("better", "no worse")
    )
    assert (got.rows_needed is not None) == (outcome == "cannot tell")


def test_the_margin_is_in_the_metric():
    ours, rival = pair(100, 130)  # 0.3 points
    keep = {"when_unsure": "keep"}
    assert compare(ours, rival, Y, Rules(margin=0.012, **keep)).outcome == "no worse"
    assert compare(ours, rival, Y, Rules(margin=0.001, **keep)).outcome == "cannot tell"


@pytest.mark.parametrize(
    ("margin", "outcome"),
    [
        (None, "worse"),
        (0.0, "worse"),
        (0.005, "worse"),  # a smaller loss than the one measured
        (0.012, "cannot tell"),
        (0.05, "no worse"),
    ],
)
def test_a_sure_loss_within_the_margin_is_not_worse(margin, outcome):
    ours, rival = pair(100, 200)  # 1 point, and surely more than none
    got = compare(ours, rival, Y, Rules(margin=margin))
    assert got.upper_bound < 0
    assert got.outcome == outcome
    assert verdict(ours, [rival], rules=Rules(margin=margin)).promote == (outcome != "worse")


def test_it_names_the_rows_that_would_tell():
    """A quarter of the difference needs sixteen times the rows."""
    ours, rival = pair(100, 130)
    got = compare(ours, rival, Y, Rules())
    assert got.rows_needed == pytest.approx(10_000 * (got.resolution / 0.003) ** 2, abs=1)
    small = compare(ours, rival, Y, Rules(margin=got.resolution / 4))
    assert small.rows_needed == pytest.approx(10_000 * min(16, (got.resolution / 0.003) ** 2), 1e-3)


@pytest.mark.parametrize(
    "metric", ["balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1"]
)
def test_every_metric_decides(metric):
    better, worse = (
        answers(np.random.default_rng(seed).random(10_000) > share)
        for seed, share in ((1, 0.05), (2, 0.14))
    )
    for ours, theirs, outcome in ((better, worse, "better"), (worse, better, "worse")):
        rival = Rival(version=1, role="champion", answers=theirs)
        got = compare(ours, rival, Y, Rules(metric=metric))
        assert got.outcome == outcome, metric
        assert got.metric == metric
        again = compare(ours, rival, Y, Rules(metric=metric))
        assert got == again
    same = compare(
        better, Rival(version=1, role="champion", answers=better), Y, Rules(metric=metric)
    )
    assert (same.outcome, same.difference) == ("no worse", 0.0)


def test_a_sentence_and_figures_for_each_comparison():
    ours, champion = pair(100, 120, version=7)
    best = Rival(version=3, role="best", answers=answers(np.arange(10_000) % 50 > 0))
    said = verdict(ours, [champion, best], rules=Rules(min_accuracy=0.5), reigns=5)
    assert not said.promote
    assert said.champion == 7
    found = [(each.version, each.role, each.outcome) for each in said.comparisons]
    assert found == [(7, "champion", "no worse"), (3, "best", "worse")]
    assert said.reasons[0] == "Test accuracy 0.8880 reaches the floor of 0.5000."
    assert said.reasons[1].startswith(
        "No worse than the champion, version 7, on the same 10,000 test rows: -0.20 points of "
        "accuracy (100 rows gained, 120 lost), between -0.9"
    )


def test_the_quantile_of_the_best_is_dunnetts():
    """The largest of n standard normal values minus another one, by simulation."""
    random = np.random.default_rng(0)
    for reigns in (1, 5, 30):
        drawn = random.normal(size=(200_000, reigns)).max(axis=1) - random.normal(size=200_000)
        expected = np.quantile(drawn, 0.97) / np.sqrt(2)
        assert quantile(0.95, "best", reigns) == pytest.approx(expected, abs=0.02)
    assert quantile(0.95, "champion", 30) == pytest.approx(stats.norm.ppf(0.99))


def test_what_cannot_be_compared_is_not_promoted():
    other = Rival(version=4, role="champion", obstacle="they do not tell the same classes apart")
    said = verdict(rivals=[other])
    assert not said.promote
    assert said.champion == 4
    assert said.comparisons == ()
    assert said.reasons[0].startswith("Not comparable with the champion, version 4: they do")


def test_an_objection_outweighs_every_score():
    said = verdict(objection="It was rolled back.", rules=Rules(min_accuracy=0.1))
    assert not said.promote
    assert said.reasons[-1] == "It was rolled back."


# The findings that protect


def test_a_finding_holds_until_it_is_allowed():
    finding = Finding(code="class-never-found", column="fraud", count=3, of=800)
    held = verdict(findings=[finding])
    assert not held.promote
    assert held.holds == ("class-never-found",)
    assert "never answers 'fraud', which 3 of 800 test rows are" in held.reasons[0]
    accepted = verdict(findings=[finding], rules=Rules(allow=("class-never-found",)))
    assert accepted.promote
    assert accepted.holds == ()
    assert accepted.reasons[0].startswith("Accepted by --allow class-never-found: The model never")


def codes(metric, ours, y, classes=("ok", "fraud"), shares=(0.9, 0.1)):
    found = useless(metric, ours, y, classes, np.array(shares))
    return {finding.code for finding in found}


def test_a_model_that_ignores_a_class_is_held():
    y = Y[:800]
    never = Answers(
        probabilities=np.tile([0.9, 0.1], (800, 1)).astype(np.float32),
        predicted=np.zeros(800, np.int64),
    )
    assert codes("accuracy", never, y) == {"class-never-found", "no-better-than-baseline"}
    assert codes("accuracy", never, np.zeros(800, np.int32)) == {"no-better-than-baseline"}


def test_noise_is_no_better_than_the_baseline():
    held = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        y = (random.random(800) < 0.05).astype(np.int32)
        score = random.beta(1, 9, 800).astype(np.float32)
        ours = Answers(
            probabilities=np.stack([1 - score, score], 1), predicted=(score > 0.3).astype(np.int64)
        )
        held += "no-better-than-baseline" in codes(
            "balanced_accuracy", ours, y, shares=(0.95, 0.05)
        )
    assert held >= 97


def test_a_useful_model_is_not_held_though_few_rows_show_it():
    """German credit: 200 test rows, an accuracy of 0.75 where 0.7 are of one class."""
    held = 0
    for seed in range(50):
        random = np.random.default_rng(seed)
        y = (random.random(200) < 0.3).astype(np.int32)
        score = 1 / (1 + np.exp(-(random.normal(size=200) + 1.5 * y - 1.4)))
        ours = Answers(
            probabilities=np.stack([1 - score, score], 1).astype(np.float32),
            predicted=(score > 0.5).astype(np.int64),
        )
        right = (ours.predicted == y).mean()
        if right > 1 - y.mean():
            held += "no-better-than-baseline" in codes("accuracy", ours, y, shares=(0.7, 0.3))
    assert held <= 2


def test_two_rows_show_nothing():
    y = np.array([0, 1], np.int32)
    assert codes("accuracy", answers(np.array([True, True]), y), y) == {"no-better-than-baseline"}


def test_shuffled_labels_are_seen_in_the_fit():
    assert shuffled(0.85, 0.86) == []
    (finding,) = shuffled(0.5 + 0.35 * 0.7, 0.85)
    assert (finding.code, finding.count) == ("shuffled-labels", 30)
    assert shuffled(None, 0.9) == shuffled(0.9, None) == shuffled(0.5, 0.5) == []


def test_a_trend_is_seen_and_noise_is_not():
    random = np.random.default_rng(0)
    trails = random.normal(0, 0.003, (200, 15)) - 0.001 * np.arange(15)
    assert sum(bool(declining(trail, trail, 0.01)) for trail in trails) > 180
    trails = random.normal(0, 0.003, (2000, 15))
    assert sum(bool(declining(trail, trail, 0.01)) for trail in trails) < 40
    few = [0, -1, -2, -3, -4]
    assert declining(few, few, 0.01) == []  # too few to say so
    assert declining([0] * 7, [0] * 7, 0.01) == []


def test_other_test_rows_each_night_are_no_trend():
    """The chance of every step adds up in the trail, but not in the scores on record."""
    random = np.random.default_rng(0)
    trails = random.normal(0, 0.003, (500, 20)).cumsum(axis=1)
    records = 0.9 + random.normal(0, 0.01, (500, 20))
    assert sum(bool(declining(trail, trail, 0.01)) for trail in trails) > 100
    assert sum(bool(declining(t, r, 0.01)) for t, r in zip(trails, records, strict=True)) < 15


def test_student_agrees_with_scipy():
    for freedom, level in itertools.product((4, 8, 18), (0.95, 0.99)):
        assert student(level, freedom) == pytest.approx(stats.t.ppf(level, freedom), abs=0.03)


def test_the_default_metric_is_a_rule_of_the_classes():
    assert rules.Rules().metric == "accuracy"

import itertools

import numpy as np
import pytest

from job.gate.decision import Rival, Rules, compare, decide, lower_bound

GOOD = {"accuracy": 0.9, "recalls": {"cat": 0.95, "dog": 0.85}}


def rival(gained=0, lost=0, rows=10_000, role="champion", version=1):
    accuracy = 0.9 - (gained - lost) / rows
    return Rival(version=version, role=role, rows=rows, gained=gained, lost=lost, accuracy=accuracy)


# The floors


def test_without_floors_and_without_a_champion_every_model_is_promoted():
    verdict = decide(**GOOD, rules=Rules())
    assert verdict.promote
    assert verdict.champion is None
    assert verdict.reasons == ("No floor is set, and there is no champion to beat.",)


def test_the_floor_itself_is_good_enough():
    assert decide(**GOOD, rules=Rules(min_accuracy=0.9)).promote
    below = decide(**GOOD, rules=Rules(min_accuracy=0.9001))
    assert not below.promote
    assert below.reasons == ("Test accuracy 0.9000 is below the floor of 0.9001.",)


def test_every_class_has_its_floor():
    assert decide(**GOOD, rules=Rules(min_recall=0.85)).promote
    below = decide(**GOOD, rules=Rules(min_recall=0.86, min_accuracy=0.5))
    assert not below.promote
    assert below.reasons[1] == (
        "The lowest recall, 0.8500 of class dog, is below the floor of 0.8600."
    )


# The comparison


def test_published_intervals_are_met():
    """Bentur et al. (2009), pairs (1, 1, 7, 12); the interval is from Fagerland, Lydersen, Laake,
    "Recommended tests and confidence intervals for paired binomial proportions", Statistics in
    Medicine 33 (2014): -0.517 to -0.026."""
    assert lower_bound(1, 7, 21, 0.975) == pytest.approx(-0.517, abs=5e-4)
    assert -lower_bound(7, 1, 21, 0.975) == pytest.approx(-0.026, abs=5e-4)


def test_equal_answers_leave_the_doubt_that_the_rows_leave():
    """With no discordant pair the bound is -z²/(n + z²), as Wilson's interval has it."""
    for rows in (1, 10, 538, 539, 10_000):
        assert lower_bound(0, 0, rows, 0.95) == pytest.approx(-2.7055 / (rows + 2.7055), abs=1e-4)
    assert not compare(rival(rows=538), Rules()).passed
    assert compare(rival(rows=539), Rules()).passed


def test_the_bound_in_all_corners():
    for gained, lost, rows in itertools.product((0, 1, 3), (0, 1, 3), (6, 7, 500)):
        bound = lower_bound(gained, lost, rows, 0.95)
        assert -1 <= bound <= (gained - lost) / rows
    assert lower_bound(0, 5, 5, 0.95) == -1.0
    assert lower_bound(5, 0, 5, 0.95) < 1
    bounds = [lower_bound(gained, 20, 1000, 0.95) for gained in range(0, 100, 5)]
    assert bounds == sorted(bounds)
    assert lower_bound(30, 20, 1000, 0.99) < lower_bound(30, 20, 1000, 0.9)


@pytest.mark.parametrize(("rows", "lost"), [(200, 0.02), (500, 0.05), (1000, 0.01), (10_000, 0.01)])
def test_a_model_just_too_bad_passes_one_time_in_twenty(rows, lost):
    random = np.random.default_rng(rows)
    true = -0.005
    pairs = random.multinomial(rows, [lost + true, lost, 1 - 2 * lost - true], 20_000)
    distinct, counts = np.unique(pairs[:, :2], axis=0, return_counts=True)
    passed = [lower_bound(int(g), int(x), rows, 0.95) > true for g, x in distinct]
    assert counts[passed].sum() / 20_000 == pytest.approx(0.05, abs=0.01)


def test_the_margin_is_in_accuracy():
    worse = rival(gained=100, lost=120)  # 0.2 points
    assert decide(**GOOD, rivals=[worse], rules=Rules(margin=0.006)).promote
    assert not decide(**GOOD, rivals=[worse], rules=Rules(margin=0.002)).promote
    assert decide(**GOOD, rivals=[rival(gained=150, lost=100)], rules=Rules(margin=0)).promote


def test_a_sentence_and_figures_for_each_comparison():
    rivals = [
        rival(gained=100, lost=120, version=7),
        rival(gained=80, lost=180, role="best", version=3),
    ]
    verdict = decide(**GOOD, rivals=rivals, rules=Rules(min_accuracy=0.5))
    assert not verdict.promote
    assert verdict.champion == 7
    found = [(each.version, each.role, each.passed) for each in verdict.comparisons]
    assert found == [(7, "champion", True), (3, "best", False)]
    assert verdict.comparisons[1].difference == pytest.approx(-0.01)
    assert verdict.reasons[0] == "Test accuracy 0.9000 reaches the floor of 0.5000."
    assert verdict.reasons[2] == (
        "Against the best, version 3, on the same 10,000 test rows: -1.00 points of accuracy "
        "(80 rows gained, 180 lost), at least -1.27 with 95 % confidence, which is not above -0.50."
    )


def test_what_cannot_be_compared_is_not_promoted():
    other = Rival(version=4, role="champion", obstacle="they do not tell the same classes apart")
    verdict = decide(**GOOD, rivals=[other], rules=Rules())
    assert not verdict.promote
    assert verdict.champion == 4
    assert verdict.comparisons == ()
    assert verdict.reasons[0].startswith("Not comparable with the champion, version 4: they do")


def test_an_objection_outweighs_every_score():
    verdict = decide(**GOOD, objection="It was rolled back.", rules=Rules(min_accuracy=0.1))
    assert not verdict.promote
    assert verdict.reasons[-1] == "It was rolled back."


# Night after night


def decline(nights, rows, loss, *, start, remember, seed):
    """Each night's model is a little worse; returns the true accuracy of the last champion."""
    random = np.random.default_rng(seed)
    difficulty = random.random(rows)
    reigns = []  # (recorded accuracy, true accuracy, right answers)
    for night in range(nights):
        true = start - loss * night
        right = difficulty + random.normal(0, 0.01, rows) < true
        rivals = reigns[-1:] + ([max(reigns[:-1], key=lambda r: r[0])] if reigns[1:] else [])
        asked = [
            Rival(
                version=1 + i,
                role="best" if i else "champion",
                rows=rows,
                gained=int((right & ~other).sum()),
                lost=int((other & ~right).sum()),
                accuracy=recorded,
            )
            for i, (recorded, _, other) in enumerate(rivals[: 2 if remember else 1])
        ]
        verdict = decide(accuracy=right.mean(), recalls={}, rivals=asked, rules=Rules())
        if verdict.promote:
            reigns.append((right.mean(), true, right))
    return reigns[-1][1]


def test_a_slow_decline_uses_the_margin_up_once():
    """A tenth of a point a night, thirty nights: what McNemar's test alone lets fall to 0.952."""
    case = {"nights": 30, "rows": 10_000, "loss": 0.001, "start": 0.97}
    ended = [decline(**case, remember=True, seed=seed) for seed in range(20)]
    forgetful = [decline(**case, remember=False, seed=seed) for seed in range(20)]
    assert min(ended) >= 0.97 - 0.006
    assert np.mean(ended) >= 0.97 - 0.005
    assert np.mean(forgetful) < 0.96

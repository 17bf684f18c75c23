import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from job.data.place import Disk
from job.evaluation import paired, scores
from job.evaluation.paired import Answers
from job.evaluation.threshold import choose, decide, positive_class


def predictions(seed, rows=400, classes=2, ties=False):
    random = np.random.default_rng(seed)
    y = (random.random(rows) ** 2 * classes).astype(np.int32)  # the first class is the largest
    logits = random.normal(size=(rows, classes))
    logits[np.arange(rows), y] += 1
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    if ties:
        probabilities = probabilities.round(1)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities.astype(np.float32), y


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_every_score_agrees_with_scikit_learn(classes, ties):
    p, y = predictions(3, classes=classes, ties=ties)
    predicted = p.argmax(axis=1)
    got = scores.scores(p, y, predicted)
    exact = p.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    one_hot = np.eye(classes)[y]
    rarer = int(2 * (y == 1).sum() <= len(y))
    ranked = [rarer] if classes == 2 else list(range(classes))
    areas = [sk.roc_auc_score(y == k, p[:, k]) for k in ranked]
    precisions = [sk.average_precision_score(y == k, p[:, k]) for k in ranked]
    assert got.accuracy == pytest.approx(sk.accuracy_score(y, predicted))
    assert got.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert got.roc_auc == pytest.approx(np.mean(areas))
    assert got.average_precision == pytest.approx(np.mean(precisions))
    if not ties:  # which bring zeros, and the two clip those differently
        assert got.log_loss == pytest.approx(sk.log_loss(y, exact), rel=1e-4)
    assert got.f1 == pytest.approx(sk.f1_score(y, predicted, average="macro"))
    assert got.brier == pytest.approx(((exact - one_hot) ** 2).sum(axis=1).mean(), rel=1e-4)
    assert got.matthews == pytest.approx(sk.matthews_corrcoef(y, predicted))


def test_scikit_learns_own_means_over_classes():
    p, y = predictions(5, classes=3)
    exact = p.astype(np.float64) / p.astype(np.float64).sum(axis=1, keepdims=True)
    got = scores.scores(p, y, p.argmax(axis=1))
    assert got.roc_auc == pytest.approx(sk.roc_auc_score(y, exact, multi_class="ovr"), abs=1e-6)
    assert got.average_precision == pytest.approx(
        sk.average_precision_score(np.eye(3)[y], p, average="macro"), abs=1e-6
    )


def test_the_baseline_knows_the_shares_only():
    y = np.array([0] * 90 + [1] * 10, np.int32)
    got = scores.baseline(y, np.array([0.9, 0.1]))
    assert (got.accuracy, got.balanced_accuracy, got.roc_auc) == (0.9, 0.5, 0.5)
    assert got.average_precision == pytest.approx(0.1)
    assert got.log_loss == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)), rel=1e-5)
    assert got.matthews == 0.0


def test_what_test_rows_of_one_class_cannot_define_is_none():
    got = scores.scores(np.full((5, 2), 0.5, np.float32), np.zeros(5, np.int32), np.zeros(5, int))
    assert got.roc_auc is None
    assert got.average_precision is None
    assert got.accuracy == 1.0


def test_uneven_classes_get_a_metric_that_ignoring_one_does_not_win():
    assert scores.default_metric(np.array([500, 500])) == "accuracy"
    assert scores.default_metric(np.array([730, 270])) == "accuracy"
    assert scores.default_metric(np.array([890, 110])) == "balanced_accuracy"
    assert scores.default_metric(np.array([100] * 10)) == "accuracy"
    assert scores.default_metric(np.array([100] * 9 + [40])) == "balanced_accuracy"


@pytest.mark.slow
def test_many_rows_are_ranked_by_some_of_their_scores_and_lie_where_their_classes_do(tmp_path):
    p, y = predictions(4, rows=scores.THRESHOLDS + 200_000)
    exact = scores.Ranking(p[: scores.THRESHOLDS, 1], y[: scores.THRESHOLDS], 1)
    assert len(exact.thresholds) == len(np.unique(p[: scores.THRESHOLDS, 1]))
    [ranking] = scores.rankings(p, y)
    assert len(ranking.thresholds) <= scores.THRESHOLDS + 2
    assert ranking.roc_auc() == pytest.approx(sk.roc_auc_score(y == 1, p[:, 1]), abs=1e-6)
    precision = sk.average_precision_score(y == 1, p[:, 1])
    assert ranking.average_precision() == pytest.approx(precision, abs=1e-5)

    disk = Disk(folder=tmp_path)
    p, y = disk.kept(p[:1000], "p"), disk.kept(y[:1000], "y")
    [streamed], [held] = scores.rankings(p, y), scores.rankings(np.array(p), np.array(y))
    assert isinstance(streamed.step, np.memmap)
    assert not isinstance(held.step, np.memmap)
    assert streamed.roc_auc() == held.roc_auc()
    assert isinstance(decide(p, (0, 1), None), np.memmap)


# The paired difference


def two_models(seed, rows=300, classes=2, gap=0.0):
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, rows).astype(np.int32)
    common = random.normal(size=(rows, classes))
    common[np.arange(rows), y] += 1.2
    both = []
    for extra in (gap, 0.0):
        logits = common + random.normal(0, 0.4, (rows, classes))
        logits[np.arange(rows), y] += extra
        p = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
        both.append(Answers(probabilities=p, predicted=p.argmax(axis=1)))
    return both[0], both[1], y


def test_published_intervals_are_met():
    """Bentur et al. (2009), pairs (1, 1, 7, 12); the interval is from Fagerland, Lydersen, Laake,
    "Recommended tests and confidence intervals for paired binomial proportions", Statistics in
    Medicine 33 (2014): -0.517 to -0.026."""
    z = stats.norm.ppf(0.975)
    assert paired.score_bound(1, 7, 21, z) == pytest.approx(-0.517, abs=5e-4)
    assert -paired.score_bound(7, 1, 21, z) == pytest.approx(-0.026, abs=5e-4)


def test_equal_answers_leave_the_doubt_that_the_rows_leave():
    """With no discordant pair the bound is -z²/(n + z²), as Wilson's interval has it."""
    for rows in (1, 10, 538, 10_000):
        bound = paired.score_bound(0, 0, rows, 1.6449)
        assert bound == pytest.approx(-2.7055 / (rows + 2.7055), abs=1e-4)


def test_the_score_bound_in_all_corners():
    for gained in (0, 1, 3):
        for lost in (0, 1, 3):
            for rows in (6, 7, 500):
                bound = paired.score_bound(gained, lost, rows, 1.645)
                assert -1 <= bound <= (gained - lost) / rows
    assert paired.score_bound(0, 5, 5, 1.645) == -1.0
    bounds = [paired.score_bound(gained, 20, 1000, 1.645) for gained in range(0, 100, 5)]
    assert bounds == sorted(bounds)


def test_delong_agrees_with_the_definition():
    """By the placement values, pair by pair (DeLong et al. 1988, equations 4 to 6)."""
    ours, theirs, y = two_models(1, rows=60)
    placements = []
    for each in (ours, theirs):
        score = each.probabilities[:, 1]
        wins = (score[y == 1][:, None] > score[y == 0][None]).astype(float)
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    found, passed = (placements[0][k] - placements[1][k] for k in (0, 1))
    variance = found.var(ddof=1) / len(found) + passed.var(ddof=1) / len(passed)
    got = paired.difference("roc_auc", ours, theirs, y, 2.0)
    assert got.value == pytest.approx(found.mean())
    assert got.high - got.value == pytest.approx(2 * np.sqrt(variance))
    assert got.ours == pytest.approx(sk.roc_auc_score(y, ours.probabilities[:, 1]))


@pytest.mark.parametrize(
    "metric", ["accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1"]
)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_interval_covers_the_truth(metric, classes):
    """The true difference of many rows lies in nineteen of twenty intervals, about."""
    ours, theirs, y = two_models(0, rows=100_000, classes=classes, gap=0.1)
    truth = paired.difference(metric, ours, theirs, y, 0.0).value
    assert truth > 0
    covered = 0
    for seed in range(1, 16):
        some = np.random.default_rng(seed).choice(100_000, 300, replace=False)
        part = [
            Answers(probabilities=a.probabilities[some], predicted=a.predicted[some])
            for a in (ours, theirs)
        ]
        got = paired.difference(metric, *part, y[some], 1.96)
        covered += got.low <= truth <= got.high
    assert covered >= 12


@pytest.mark.parametrize(("metric", "classes"), [("average_precision", 2), ("roc_auc", 3)])
def test_the_error_of_rankings_is_the_bootstraps(metric, classes):
    ours, theirs, y = two_models(5, classes=classes, rows=600, gap=0.2)
    random, found = np.random.default_rng(0), []
    for _ in range(200):
        rows = random.integers(0, len(y), len(y))
        both = (
            scores.scores(each.probabilities[rows], y[rows], y[rows]) for each in (ours, theirs)
        )
        first, second = (getattr(each, metric) for each in both)
        found.append(first - second)
    got = paired.difference(metric, ours, theirs, y, 1.0)
    assert got.high - got.value == pytest.approx(np.std(found), rel=0.15)
    known = [getattr(scores.scores(each.probabilities, y, y), metric) for each in (ours, theirs)]
    assert got.value == pytest.approx(known[0] - known[1])


@pytest.mark.parametrize("classes", [2, 3])
def test_the_change_is_that_of_each_rows_part_in_the_metric(classes):
    ours, theirs, y = two_models(3, classes=classes, gap=0.3)
    for metric in ("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss"):
        parts = [part(slice(0, len(y))) for part in paired._parts(metric, ours, y)]
        known = getattr(scores.scores(ours.probabilities, y, ours.predicted), metric)
        assert np.mean([part.mean() for part in parts]) == pytest.approx(known)
        change = paired.change(metric, ours, theirs, y)
        assert change == paired.change(metric, theirs, ours, y)
        assert change >= abs(paired.difference(metric, ours, theirs, y, 1.0).value) > 0
        assert paired.change(metric, ours, ours, y) == 0
    right = [(each.predicted == y).mean() for each in (ours, theirs)]
    assert paired.change("f1", ours, theirs, y) > abs(right[0] - right[1])
    assert paired.change("f1", ours, ours, y) == 0
    one = np.zeros(len(y), np.int32)  # rows of one class define no ranking
    assert paired.change("roc_auc", ours, theirs, one) == 0


def test_rank_evidence_is_mann_whitneys():
    ours, _, y = two_models(2)
    score = ours.probabilities[:, 1]
    test = stats.mannwhitneyu(
        score[y == 1],
        score[y == 0],
        alternative="greater",
        method="asymptotic",
        use_continuity=False,
    )
    assert stats.norm.sf(paired.rank_evidence(ours.probabilities, y)) == pytest.approx(
        test.pvalue, rel=1e-6
    )


# The threshold


def test_each_rule_gives_the_threshold_that_it_asks_for():
    p, y = predictions(7, rows=500)
    rare = positive_class(np.bincount(y))
    assert rare == 1

    def cells(rule):
        threshold = choose(rule, p, y, ("no", "yes"), rare)
        said = decide(p, ("no", "yes"), threshold)
        return sk.confusion_matrix(y, said).ravel(), said

    def every(score):
        return max(score(y, (p[:, 1] >= t).astype(int)) for t in np.unique(p[:, 1]))

    assert sk.f1_score(y, cells("f1")[1]) == pytest.approx(every(sk.f1_score))
    (_, _, missed, found), _ = cells("recall=0.9")
    assert 0.9 <= found / (missed + found) < 0.9 + 2 / (missed + found)
    (_, false, _, found), _ = cells("precision=0.8")
    assert found / (false + found) >= 0.8
    (_, false, missed, _), _ = cells("cost=5:1")

    def cost(y, said):
        return -(5 * ((y == 1) & (said == 0)).sum() + ((y == 0) & (said == 1)).sum())

    assert -(5 * missed + false) == every(cost)
    assert choose("0.3", p, y, ("no", "yes"), rare).value == 0.3


def test_a_precision_out_of_reach_is_said():
    p, y = predictions(7, rows=200)
    chosen = choose("precision=1", np.full_like(p, 0.5), y, ("no", "yes"), 1)
    assert not chosen.reached


def test_a_threshold_for_the_first_class():
    p = np.array([[0.4, 0.6], [0.2, 0.8]], np.float32)
    threshold = choose("0.3", p, np.array([0, 1]), ("fraud", "ok"), 0)
    assert decide(p, ("fraud", "ok"), threshold).tolist() == [0, 1]
    assert decide(p, ("fraud", "ok"), None).tolist() == [1, 1]

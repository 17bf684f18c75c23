"""Members: trained side by side, stopped, dropped, resumed and averaged."""

import dataclasses
import itertools

import churn
import numpy as np
import pytest
import tiny

from job import data, device, export, models, training
from job.config import Config, DataOptions
from job.data import splits
from job.errors import Preempted, TrainingDiverged
from job.models import members, plan
from job.models.members import FOLDS, TEMPERATURES, TRAINED, probabilities
from job.training import blocks, calibration
from job.training.best import Best
from job.training.packed import digest


def with_many_cities(table):
    """More than are one-hot, so that they are embedded."""
    return [row | {"city": f"city {i % 80}"} for i, row in enumerate(table)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(tmp_path_factory.mktemp("t"), 400)


def written(folder, count):
    device.prepare("cpu")
    rows = with_many_cities(churn.rows(count))
    return str(churn.write_parquet(folder / "churn.parquet", rows))


def load(table, config):
    return data.load(
        table, test_uri=None, validation_split=plan.holdout(config), scratch=None,
        reading=DataOptions(label="churned", exclude=("household",)),
    )  # fmt: skip


def planned(dataset, **options):
    config = Config.of(data="t", name="t", **options)
    return plan.decide(config, dataset, gpu=False).config


def several(dataset=None, **options):
    """(model, Fitted) of three small networks on the corners."""
    dataset = dataset or tiny.corners(240, 0)
    device.prepare("cpu")
    arguments = {k: options.pop(k) for k in ("callbacks", "on_drop") if k in options}
    settled = planned(
        dataset, **({"hidden": (8,), "members": 3, "epochs": 3, "batch_size": 50} | options)
    )
    model = models.build(settled, dataset)
    return model, training.fit(model, dataset, settled, **arguments)


def bits(model):
    return [np.asarray(variable).tobytes() for variable in model.network.trainable_weights]


@pytest.mark.parametrize(
    ("groups", "held_out", "said"),
    [
        (5, 5, None),
        (4, 4, "4 folds in turn, not 5: the training"),
        (2, 2, "2 groups"),
        (1, 0, "no rows"),
    ],
)
def test_no_member_holds_out_an_empty_fold_where_few_groups_stay_together(
    table, groups, held_out, said
):
    dataset = load(table, Config())
    keys = np.arange(len(dataset.train), dtype=np.uint64) % groups
    few = dataclasses.replace(dataset, table=dataclasses.replace(dataset.table, keys=keys))
    decided = plan.decide(Config.of(data="t", name="t"), few, gpu=False)
    assert members.folds(decided.config, few) == held_out
    assert [said in reason for reason in decided.reasons] == [True] * (said is not None)
    assert (decided.config.training.patience is None) == (held_out == 0)


def test_folds_keep_keys_together_and_spread_the_classes():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 300, 600).astype(np.uint64)
    y = (keys % 3).astype(np.int32)
    fold = splits.folds(y, keys, 5)
    assert all(len(set(fold[keys == key])) == 1 for key in np.unique(keys))
    shares = np.array([[np.mean(fold[y == label] == f) for f in range(5)] for label in range(3)])
    assert abs(shares - 0.2).max() < 0.08
    assert (fold == splits.folds(y, keys, 5)).all()
    assert (fold != splits.folds(y, keys, 5, seed=1)).any()


def with_labels_exchanged(dataset, rows, folds_of):
    """The data with labels exchanged between rows, wherever the folds stay what they are."""
    y, fold, exchanged = dataset.train.y.copy(), folds_of(dataset.train.y), 0
    for i, j in itertools.combinations(rows, 2):
        other = y.copy()
        other[[i, j]] = y[[j, i]]
        if y[i] != y[j] and (folds_of(other) == fold).all():
            y, exchanged = other, exchanged + 1
    assert exchanged >= 3
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, y=y))


def of_members(dataset):
    """Labels → the fold that each row is in, of which a member holds one out."""
    return lambda y: splits.folds(y, dataset.keys(), FOLDS)


@pytest.mark.slow
def test_a_member_learns_nothing_from_the_rows_that_it_holds_out():
    dataset = tiny.corners(240, 0)
    held_out = np.flatnonzero(of_members(dataset)(dataset.train.y) == 0)
    other = with_labels_exchanged(dataset, held_out, of_members(dataset))
    before, after = (several(each, epochs=1)[0] for each in (dataset, other))
    expect_others_moved(before, after, dataset)


def expect_others_moved(before, after, dataset):
    """Only member 0 is as it was."""
    rows = {k: v[:9] for k, v in dataset.train.x.items()} if dataset.table else dataset.train.x[:9]
    old, new = (training.predict(probabilities(model), rows) for model in (before, after))
    assert (old[:, 0] == new[:, 0]).all()
    assert (old[:, 1:] != new[:, 1:]).any()


@pytest.mark.slow
def test_members_of_a_table_share_no_vectors_of_categories_and_words(tmp_path):
    table = with_many_cities(churn.rows(240))
    for i, row in enumerate(table):
        row["note"] = f"a {'bad' if row['churned'] == 'yes' else 'good'} day number {i}"
    path = churn.write_csv(tmp_path / "churn.csv", table)
    config = Config.of(data="t", name="t", members=3, hidden=(8,), epochs=1)
    dataset = data.load(
        str(path), test_uri=None, validation_split=plan.holdout(config), scratch=None,
        reading=DataOptions(label="churned", text=("note",)),
    )  # fmt: skip
    settled = plan.decide(config, dataset, gpu=False).config
    held_out = np.flatnonzero(of_members(dataset)(dataset.train.y) == 0)
    other = with_labels_exchanged(dataset, held_out, of_members(dataset))
    trained = []
    for each in (dataset, other):
        device.prepare("cpu")
        trained.append(models.build(settled, each))
        training.fit(trained[-1], each, settled)
    expect_others_moved(*trained, dataset)


def test_the_average_is_better_than_a_member_and_validated_out_of_fold():
    dataset = tiny.corners(600, 0)
    model, fitted = several(dataset, epochs=8)
    assert fitted.validation.kind == "out-of-fold"
    fold = splits.folds(dataset.train.y, dataset.keys(), FOLDS)
    assert fitted.validation.rows.tolist() == np.flatnonzero(fold < 3).tolist()  # of 3 members
    said = training.predict(fitted.network, dataset.test.x)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    each = training.predict(probabilities(model), dataset.test.x)
    losses = [calibration.loss(each[:, k], dataset.test.y) for k in range(3)]
    assert calibration.loss(each.mean(axis=1), dataset.test.y) < np.mean(losses)
    assert (said.argmax(axis=1) == dataset.test.y).mean() > 0.9


@pytest.mark.slow
def test_an_average_of_members_reloads_in_a_fresh_process(tmp_path):
    dataset = tiny.corners(240, 0)
    _, fitted = several(dataset)
    with export.Check() as check:
        export.write(fitted.network, tmp_path)
        check.submit(tmp_path, dataset.test.x)
        said = training.predict(fitted.network, dataset.test.x)
        check.result(said, export.tolerance(fitted.network))


@pytest.mark.slow
@pytest.mark.parametrize(("members", "kind"), [(4, "out-of-fold"), (1, "held-out")])
def test_a_table_s_network_takes_raw_columns_in_a_fresh_process(members, kind, table, tmp_path):
    open_ = Config.of(data="t", name="t", epochs=30, members=members, hidden=(16, 16))
    dataset = load(table, open_)
    settled = plan.decide(open_, dataset, gpu=False).config
    model = models.build(settled, dataset)
    fitted = training.fit(model, dataset, settled)
    assert fitted.validation.kind == kind
    said = training.predict(fitted.network, dataset.test.x)
    assert (said.argmax(axis=1) == dataset.test.y).mean() > 0.8
    with export.Check() as check:
        export.write(fitted.network, tmp_path, dataset.table.schema)
        check.submit(tmp_path, dataset.table.test, dataset.table.schema)
        check.result(said, export.tolerance(fitted.network))


def test_each_independent_member_keeps_its_own_best_weights():
    dataset = tiny.corners(120, 0)
    wrong = slice(0, 30)  # whoever is sure of these is punished
    dataset.train.y[wrong] = (dataset.train.y[wrong] + 1) % 4
    model, fitted = several(
        dataset, epochs=60, patience=2, learning_rate=0.01, batch_size=8, hidden=(16,)
    )
    assert len(fitted.history) < 60
    y, rows = dataset.train.y, dataset.fit_rows
    fold = np.full(len(y), TRAINED, np.int32)
    fold[rows] = splits.folds(y, dataset.keys(), FOLDS)
    each = training.predict(probabilities(model), dataset.train.x)
    held = model.held(fold).astype(bool)
    best = [
        min(
            calibration.loss(calibration.scaled(each[held[:, k], k], t), y[held[:, k]])
            for t in TEMPERATURES
        )
        for k in range(3)
    ]
    assert np.mean(best) <= min(result.val_loss for result in fitted.history) + 5e-3


class Weights:
    """What `Best` needs of `Members`: the weights of an epoch are its number."""

    members, active = 2, np.ones(2, np.float32)

    def __init__(self, *, overtrained=False, repeated=0.0):
        self.overtrained, self.repeated, self.epoch = overtrained, repeated, 0

    def candidate(self):
        return [np.full(2, self.epoch)]

    def improve(self, best, now, better):
        best[0][better] = now[0][better]


@pytest.mark.parametrize(("overtrained", "epochs", "kept"), [(False, 5, [2, 3]), (True, 6, [4, 5])])
def test_members_that_are_averaged_go_on_beyond_their_lowest_loss(overtrained, epochs, kept):
    model = Weights(overtrained=overtrained)
    best = Best(model, 2)
    for losses in ((3, 3), (1, 2), (1.05, 1), (1.1, 1.01), (1.2, 1.09), (1.3, 1.2), (1, 1)):
        model.epoch += 1
        best.epoch_ended({"val_member_loss": losses, "member_loss": (9, 9)})
        if best.done:
            break
    assert model.epoch == epochs
    again = Best(model, 2)
    again.put_back(best.arrays())
    assert again.done
    assert best.arrays()["best/0"].tolist() == kept


@pytest.mark.parametrize(("repeated", "kept"), [(0.0, [1, 1]), (0.25, [1, 3]), (0.5, [3, 3])])
def test_rows_that_will_equal_training_rows_count_by_the_training_loss(repeated, kept):
    model = Weights(repeated=repeated)
    best = Best(model, None)
    for held_out, trained in ((1.0, (0.8, 1.0)), (1.1, (0.7, 0.8)), (1.2, (0.4, 0.3))):
        model.epoch += 1
        best.epoch_ended({"val_member_loss": (held_out, held_out), "member_loss": trained})
    assert best.arrays()["best/0"].tolist() == kept


class Interrupting:
    def __init__(self, at):
        self.at, self.seen, self.state = at, 0, None

    def should_stop(self):
        self.seen += 1
        return 0 < self.at <= self.seen

    def save(self, state):
        self.state = state


@pytest.mark.slow
def test_a_table_s_network_may_have_no_hidden_layer(table):
    open_ = Config.of(data="t", name="t", members=2, hidden=(), epochs=2)
    dataset = load(table, open_)
    settled = plan.decide(open_, dataset, gpu=False).config
    fitted = training.fit(models.build(settled, dataset), dataset, settled)
    assert training.predict(fitted.network, dataset.test.x).shape == (len(dataset.test), 2)


@pytest.mark.slow
@pytest.mark.parametrize("members", [3, 1])
def test_stopped_anywhere_and_resumed_members_end_with_the_same_bits(
    members, tmp_path, monkeypatch
):
    table = written(tmp_path, 1200)  # so many that members go on beyond their lowest loss
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)  # every block is one step
    open_ = Config.of(
        data="t", name="t", xla=False, members=members, hidden=(8,), batch_size=450,
        epochs=6, patience=2, learning_rate=0.05,
    )  # fmt: skip
    dataset = load(table, open_)
    settled = plan.decide(open_, dataset, gpu=False).config
    assert models.build(settled, dataset).overtrained == (members > 1)

    def fit(**arguments):
        device.prepare("cpu")
        model = models.build(settled, dataset)
        fitted = training.fit(model, dataset, settled, **arguments)
        history = [dataclasses.replace(result, seconds=0) for result in fitted.history]
        return bits(model), history, training.predict(fitted.network, dataset.test.x).tobytes()

    kept = []
    whole = fit(save=kept.append)
    last = digest(kept[-1].arrays)
    points = Interrupting(0)
    fit(should_stop=points.should_stop)
    for at in (2, points.seen // 2, points.seen):
        stopped = Interrupting(at)
        with pytest.raises(Preempted):
            fit(should_stop=stopped.should_stop, save=stopped.save)
        assert fit(resume=stopped.state, save=kept.append) == whole, at
        assert digest(kept[-1].arrays) == last, at
    assert fit(resume=kept[-1]) == whole  # a finished run is not trained again


def spoil(model, members, epoch):
    """A callback that makes some members' weights NaN."""
    import keras

    def spoiled(number, logs):
        if number == epoch:
            kernel = model.network.trainable_weights[0]
            values = np.array(kernel)
            values[members] = np.nan
            kernel.assign(values)

    return keras.callbacks.LambdaCallback(on_epoch_begin=spoiled)


@pytest.mark.slow  # several members are trained
def test_a_member_that_diverges_is_dropped_while_half_of_them_go_on():
    dataset = tiny.corners(240, 0)
    device.prepare("cpu")
    settled = planned(dataset, hidden=(8,), members=3, epochs=4, batch_size=50)
    model = models.build(settled, dataset)
    dropped, kept = [], []
    fitted = training.fit(
        model, dataset, settled,
        callbacks=[spoil(model, [1], 1)], on_drop=lambda *args: dropped.append(args),
        save=kept.append, due=lambda: True,
    )  # fmt: skip
    assert dropped == [(1, 2)]
    assert all(np.isfinite([r.loss, r.val_loss]).all() for r in fitted.history)
    assert all(state.finite for state in kept)
    said = training.predict(fitted.network, dataset.test.x)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.slow
def test_too_many_that_diverge_end_training():
    dataset = tiny.corners(240, 0)
    device.prepare("cpu")
    settled = planned(dataset, hidden=(8,), members=3, epochs=4, batch_size=50)
    model = models.build(settled, dataset)
    with pytest.raises(TrainingDiverged, match="more than half"):
        training.fit(model, dataset, settled, callbacks=[spoil(model, [0, 1], 1)])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"members": 2}, {"patience": 3}])
def test_a_time_limit_ends_training_after_the_epoch_that_is_under_way(options):
    dataset = tiny.corners(240, 40)
    device.prepare("cpu")
    settled = planned(dataset, hidden=(8,), epochs=50, batch_size=50, time_limit=1e-3, **options)
    kept = []
    fitted = training.fit(models.build(settled, dataset), dataset, settled, save=kept.append)
    assert (len(fitted.history), fitted.time_limited) == (1, 4)
    again = training.fit(
        models.build(settled, dataset), dataset, settled, resume=kept[-1], save=kept.append
    )
    assert again.time_limited == 4
    longer = settled.replaced(time_limit=60.0)
    redone = training.fit(models.build(longer, dataset), dataset, longer, limited_at=4)
    assert (len(redone.history), redone.time_limited) == (1, 4)
    same = zip(fitted.network.get_weights(), redone.network.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in same)


@pytest.mark.slow
def test_a_time_limit_ends_nothing_after_the_last_epoch():
    dataset = tiny.corners(240, 40)
    device.prepare("cpu")
    settled = planned(dataset, hidden=(8,), epochs=1, batch_size=50, time_limit=1e-3, xla=False)
    kept = []
    model = models.build(settled, dataset)
    assert training.fit(model, dataset, settled, save=kept.append).time_limited is None
    assert not kept[-1].position.limited


def test_families_count_for_what_they_explain():
    rng = np.random.default_rng(0)
    one, other = (rng.dirichlet(np.ones(3), 20_000) for _ in range(2))
    said = np.stack([one, other], axis=1).astype(np.float32)
    y = np.array([rng.choice(3, p=p) for p in 0.2 * one + 0.8 * other], np.int32)
    assert calibration.family_shares(said, y) == pytest.approx([0.2, 0.8], abs=0.03)
    assert calibration.family_shares(said[:50], y[:50]) == pytest.approx([0.5, 0.5])
    sure = np.stack([np.eye(3)[(y + 1) % 3], np.eye(3)[y]], axis=1).astype(np.float32)
    assert calibration.family_shares(sure, y) == pytest.approx([0, 1])


def test_a_temperature_is_kept_only_if_it_helps_on_other_rows():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(3, p=p / p.sum()) for p in shares.astype(np.float64)], np.int32)
    sharp = shares**2 / (shares**2).sum(axis=1, keepdims=True)
    assert calibration.temperature(sharp, y) == pytest.approx(2, abs=0.15)
    assert calibration.temperature(shares, y) == pytest.approx(1, abs=0.1)
    assert calibration.temperature(sharp[:50], y[:50]) == 1.0


@pytest.mark.slow
def test_common_validation_rows_either_stop_training_or_are_reported():
    dataset = tiny.corners(300, 60)
    _, fitted = several(dataset, epochs=6, patience=1)
    reported = fitted.validation.rows
    assert fitted.validation.kind == "held-out"
    assert set(reported) < set(dataset.validation_rows)
    assert 0.3 < len(reported) / len(dataset.validation_rows) < 0.7
    rows, keys = dataset.validation_rows, dataset.keys()
    other = with_labels_exchanged(dataset, reported, lambda y: splits.folds(y[rows], keys[rows], 2))
    again = several(other, epochs=6, patience=1)[1]
    assert [r.val_loss for r in again.history] == [r.val_loss for r in fitted.history]

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from job import device, training
from job.config import Config
from job.data import memory
from job.errors import DataError, Preempted, TrainingDiverged
from job.models import members, mlp
from job.training import blocks, feeds, fitting
from job.training.packed import digest


def trained(dataset=None, **options):
    """(model, Fitted) of a small run from the same initial weights."""
    dataset = dataset or tiny.corners()
    callbacks = options.pop("callbacks", ())
    should_stop = options.pop("should_stop", lambda: False)
    config = Config.of(**({"hidden": (16,), "epochs": 3, "batch_size": 50} | options))
    device.prepare("cpu")
    net = mlp.build(config, dataset)
    return net, training.fit(net, dataset, config, callbacks=callbacks, should_stop=should_stop)


def bits(net):
    return [variable.numpy().tobytes() for variable in net.variables + net.optimizer.variables]


def by_hand(dataset, config):
    """What Keras's own `train_on_batch` makes of the same batches."""
    device.prepare("cpu")
    net = mlp.build(config, dataset)
    for epoch in range(config.training.epochs):
        rows = training.order(dataset.fit_rows, seed=config.training.seed, epoch=epoch)
        for start in range(0, len(rows), config.training.batch_size):
            batch = rows[start : start + config.training.batch_size]
            weights = members.class_weights(dataset)
            net.train_on_batch(
                dataset.train.x[batch],
                dataset.train.y[batch],
                class_weight=dict(enumerate(weights)) if config.training.class_weights else None,
            )
    return net


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [50, 64, 1000])
@pytest.mark.parametrize(("xla", "weighted"), [(True, False), (True, True), (False, False)])
def test_the_loop_does_what_keras_does_step_by_step(batch_size, xla, weighted):
    dataset = tiny.corners()
    common = dataset.fit_rows[dataset.train.y[dataset.fit_rows] > 0]
    dataset = dataclasses.replace(dataset, fit_rows=np.union1d(common, dataset.fit_rows[:150]))
    options = {"hidden": (16,), "epochs": 3, "batch_size": batch_size, "class_weights": weighted}
    net, fitted = trained(dataset, xla=xla, **options)
    expected = by_hand(dataset, Config.of(**options))
    assert int(net.optimizer.iterations) == int(expected.optimizer.iterations)
    for ours, theirs in zip(net.weights, expected.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)
    x, y = dataset.train.x[dataset.validation_rows], dataset.train.y[dataset.validation_rows]
    loss, accuracy = net.evaluate(x, y, verbose=0)
    assert fitted.history[-1].val_loss == pytest.approx(loss, rel=1e-4)
    assert fitted.history[-1].val_accuracy == pytest.approx(accuracy)


def test_it_learns_and_the_history_says_so():
    net, fitted = trained(epochs=12)
    assert [result.epoch for result in fitted.history] == list(range(1, 13))
    assert fitted.history[-1].accuracy > 0.9 > fitted.history[0].accuracy
    assert fitted.history[-1].loss < fitted.history[0].loss
    assert fitted.rows_per_second > 0
    test = tiny.corners().test
    assert (training.predict(net, test.x).argmax(axis=1) == test.y).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "batch_size": 64}, {"xla": False}])
def test_the_same_seed_gives_the_same_bits_in_blocks_of_any_size(options, monkeypatch):
    reference = bits(trained(**options)[0])
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 0.0)  # one step a block
    assert bits(trained(**options)[0]) == reference
    assert bits(trained(**options, seed=1)[0]) != reference


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "mixed_bfloat16"},
        {"precision": "mixed_float16"},
        {"hidden": (8, 8, 8), "activation": "gelu"},
        {"validation_split": 0.0},
    ],
)
def test_every_kind_of_model_trains(options):
    dataset = tiny.corners(validation=0 if "validation_split" in options else 100)
    _, fitted = trained(dataset, epochs=2, **options)
    assert fitted.history[1].loss < fitted.history[0].loss
    assert (fitted.history[0].val_loss is None) == ("validation_split" in options)


def test_columns_of_numbers_train():
    _, fitted = trained(tiny.flat(tiny.corners(), scale=1e4), epochs=8)
    assert fitted.history[-1].accuracy > 0.9


def test_the_order_is_a_permutation_from_seed_and_epoch_alone():
    rows = np.arange(5, 105)
    first = training.order(rows, seed=3, epoch=1)
    assert sorted(first) == rows.tolist()
    assert first.tolist() == training.order(rows, seed=3, epoch=1).tolist()
    assert first.tolist() != training.order(rows, seed=3, epoch=2).tolist()
    assert first.tolist() != training.order(rows, seed=4, epoch=1).tolist()


def test_early_stopping_restores_the_best_weights():
    dataset = tiny.corners(rows=80, validation=40)
    wrong = dataset.validation_rows[:8]  # whoever is sure of these is punished
    dataset.train.y[wrong] = (dataset.train.y[wrong] + 1) % 4
    net, fitted = trained(dataset, epochs=100, patience=2, learning_rate=0.01, batch_size=8)
    assert len(fitted.history) == fitted.best_epoch + 2 < 100
    x, y = dataset.train.x[dataset.validation_rows], dataset.train.y[dataset.validation_rows]
    best = fitted.history[fitted.best_epoch - 1].val_loss
    assert net.evaluate(x, y, verbose=0)[0] == pytest.approx(best, rel=1e-4)


def test_blocks_begin_with_a_step_and_grow():
    stops = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: stops.append(step + 1)
    )
    trained(callbacks=[callback], epochs=1, batch_size=2)
    assert stops[:2] == [1, 9]
    assert stops[-1] == 250
    assert len(stops) < 25


def test_callbacks_see_each_block_and_each_epoch(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 0.0)
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: seen.append(step),
        on_epoch_end=lambda epoch, logs: seen.append(sorted(logs)),
    )
    trained(callbacks=[callback], epochs=1, batch_size=100)
    assert seen == [0, 1, 2, 3, 4, ["accuracy", "loss", "val_accuracy", "val_loss"]]


def test_a_signal_ends_training_between_two_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 0.0)
    steps = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: steps.append(step)
    )
    with pytest.raises(Preempted):
        trained(callbacks=[callback], should_stop=lambda: len(steps) == 13)
    assert steps == [*range(10), 0, 1, 2]


def test_a_loss_that_is_not_finite_ends_training():
    dataset = tiny.flat(tiny.corners())
    with pytest.raises(TrainingDiverged, match="loss nan"):
        trained(dataset, learning_rate=1e30)


def test_nothing_is_saved_that_is_not_finite(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)  # every block is one step
    kept = []
    with pytest.raises(TrainingDiverged, match="loss nan"):
        fit(
            tiny.corners(),
            Config.of(hidden=(64, 64, 64, 64), learning_rate=1e4, batch_size=5),
            due=lambda: True,
            save=kept.append,
        )
    assert kept
    for state in kept:
        assert all(np.isfinite(array).all() for array in state.arrays.values())


def test_a_validation_loss_that_is_not_finite_ends_training():
    dataset = tiny.flat(tiny.corners(), scale=1e-4)
    x = dataset.train.x.copy()
    x[dataset.validation_rows[0]] = np.float32(3e38)
    split = dataclasses.replace(dataset.train, x=x)
    with pytest.raises(TrainingDiverged, match="val_loss"):
        trained(dataclasses.replace(dataset, train=split))


def test_an_aligned_table_is_not_copied():
    x = memory.aligned((10, 3), np.dtype(np.float32))
    x[...] = 1
    table = feeds.Table(x, np.arange(10, dtype=np.int32))
    x[0, 0] = 7
    assert table.x[0, 0] == 7


@pytest.mark.parametrize("kind", ["elsewhere", "read-only", "transposed"])
def test_any_other_table_is_copied(kind):
    x = np.arange(64 * 9, dtype=np.uint8)[1:-63].reshape(64, 8)
    x = x.T if kind == "transposed" else x
    x.flags.writeable = kind != "read-only"
    table = feeds.Table(x, np.arange(len(x), dtype=np.int32))
    # Without XLA TensorFlow aborts the process on a tensor that is not aligned.
    assert tf.gather(table.x, [3]).numpy().tolist() == [x[3].tolist()]


def test_predictions_come_in_pieces_of_any_size():
    net, _ = trained(epochs=1)
    corners = tiny.corners().test.x
    x = np.resize(corners, (2 * fitting.PREDICT_BATCH + 33, *corners.shape[1:]))
    expected = net.predict(x, verbose=0)
    np.testing.assert_allclose(training.predict(net, x), expected, atol=1e-6)
    assert training.predict(net, x[:0]).shape == (0, 4)


class Interrupting:
    """Stops a run at its nth safe point, saving there; then goes on with what was saved."""

    def __init__(self, at):
        self.at, self.seen, self.state = at, 0, None

    def should_stop(self):
        self.seen += 1
        return 0 < self.at <= self.seen

    def save(self, state):
        self.state = state


def fit(dataset, config, **arguments):
    device.prepare("cpu")
    net = mlp.build(config, dataset)
    fitted = training.fit(net, dataset, config, **arguments)
    history = [dataclasses.replace(result, seconds=0) for result in fitted.history]
    return bits(net), history, fitted.best_epoch


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"xla": False},
        {"xla": False, "dropout": 0.3, "batch_size": 64},
        {"xla": False, "patience": 2, "epochs": 30, "learning_rate": 0.05},
    ],
)
def test_stopped_at_any_safe_point_and_resumed_it_ends_with_the_same_bits(options, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)  # every block is one step
    dataset = tiny.corners(240, 40)
    config = Config.of(**({"hidden": (8,), "epochs": 3, "batch_size": 50} | options))
    kept = []
    whole = fit(dataset, config, save=kept.append)
    last = digest(kept[-1].arrays)
    points = Interrupting(0)
    fit(dataset, config, should_stop=points.should_stop)
    assert points.seen > 15
    middle = points.seen // 2
    for at in (
        (middle,) if config.training.xla else (1, middle, middle + 1, points.seen - 1, points.seen)
    ):
        stopped = Interrupting(at)
        with pytest.raises(Preempted):
            fit(dataset, config, should_stop=stopped.should_stop, save=stopped.save)
        assert fit(dataset, config, resume=stopped.state, save=kept.append) == whole, at
        assert digest(kept[-1].arrays) == last, at


def test_in_the_middle_of_an_epoch_all_of_a_state_are_arrays(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 1e-9)  # every block is one step
    stopped = Interrupting(2)
    config = Config.of(hidden=(8,), batch_size=50, xla=False)
    with pytest.raises(Preempted):
        fit(tiny.corners(240, 40), config, should_stop=stopped.should_stop, save=stopped.save)
    assert stopped.state.position.step == 2
    kinds = {name: type(array) for name, array in stopped.state.arrays.items()}
    assert set(kinds.values()) == {np.ndarray}, kinds  # as a checkpoint wants them


def test_a_state_of_another_model_is_no_state_of_this_one():
    dataset, kept = tiny.corners(), []
    options = {"epochs": 1, "batch_size": 50}
    fit(dataset, Config.of(hidden=(8,), **options), save=kept.append)
    for hidden in ((9,), (8, 8)):
        with pytest.raises(DataError, match="expected model/"):
            fit(dataset, Config.of(hidden=hidden, **options), resume=kept[-1])


def test_a_finished_run_is_not_trained_again():
    dataset, config = tiny.corners(), Config.of(hidden=(8,), epochs=2, batch_size=50)
    kept = []
    whole = fit(dataset, config, save=kept.append)
    assert kept[-1].position.finished
    heard = []
    assert (
        fit(dataset, config, resume=kept[-1], on_epoch=lambda so_far: heard.append(so_far[-1]))
        == whole
    )
    assert heard == []

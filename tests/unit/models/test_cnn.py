"""cnn: what it takes, what it rejects, and what is published of it."""

import dataclasses

import numpy as np
import pytest
import tiny

from job import device, export, models, training
from job.config import Config
from job.data.dataset import Split
from job.errors import UsageError
from job.models import plan
from job.models.members import as_members, probabilities
from job.training import calibration


def planned(dataset, model="cnn", **options):
    settled = {"hidden": (8, 8), "epochs": 3, "batch_size": 50} | options
    return plan.decide(Config.of(data="t", name="t", model=model, **settled), dataset, gpu=False)


def fitted(dataset, **options):
    device.prepare("cpu")
    config = planned(dataset, **options).config
    model = models.build(config, dataset)
    return model, training.fit(model, dataset, config)


def shaped(dataset, *shape, dtype=np.uint8):
    def part(split):
        x = np.resize(split.x, (len(split), *shape))
        return Split(x=x.astype(dtype) / (1 if dtype == np.uint8 else dtype(255)), y=split.y)

    return dataclasses.replace(dataset, train=part(dataset.train), test=part(dataset.test))


def test_it_learns_the_corners_and_keeps_the_last_epoch():
    dataset = tiny.corners(600, 100)
    _, result = fitted(dataset, epochs=8, augment=())
    said = training.predict(result.network, dataset.test.x)
    assert (said.argmax(axis=1) == dataset.test.y).mean() > 0.9
    assert result.kept_epoch == 8
    assert result.validation.kind == "held-out"
    assert 30 < result.validation_scores(dataset).rows < 70  # the others chose the epoch


@pytest.mark.slow  # two networks are trained
@pytest.mark.parametrize("patience", [None, 9])
def test_the_epoch_that_is_said_to_be_kept_is_the_one_whose_weights_are(patience):
    dataset = tiny.corners(240, 80)
    dataset.train.y[:] = np.random.default_rng(0).integers(0, 4, 240)  # it can only memorise
    options = {"hidden": (32, 32), "epochs": 6, "batch_size": 20, "learning_rate": 0.02}
    config = planned(dataset, **options, augment=(), patience=patience).config
    model, states = models.build(config, dataset), []
    device.prepare("cpu")
    result = training.fit(model, dataset, config, save=states.append, due=lambda: True)
    assert result.kept_epoch == 6 if patience is None else result.kept_epoch < 6
    [state] = [
        each
        for each in states
        if (each.position.epoch, each.position.step) == (result.kept_epoch, 0)
    ][:1]
    saved = [array for name, array in state.arrays.items() if name.startswith("model/")]
    for weight in model.kept:
        assert any(np.array_equal(weight, array) for array in saved)


def test_activations_that_memory_does_not_hold_end_before_training():
    dataset = tiny.corners(2000, 40)
    config = planned(dataset, batch_size=1900, hidden=(1_000_000,)).config
    with pytest.raises(MemoryError, match=r"activations take 90\d\.\d GiB of memory, of"):
        training.fit(models.build(config, dataset), dataset, config)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "mlp cnn"])
@pytest.mark.parametrize("members", [1, 2])
def test_families_and_members_are_averaged_in_one_published_model(model, members, tmp_path):
    dataset = tiny.corners(240, 40)
    trained, result = fitted(dataset, model=model, members=members)
    count = members * len(model.split())
    assert as_members(trained).members == count
    logits = training.predict(trained.network, dataset.test.x)
    exponents = np.exp(logits - logits.max(axis=2, keepdims=True))
    mean = (exponents / exponents.sum(axis=2, keepdims=True)).mean(axis=1)
    said = training.predict(result.network, dataset.test.x)
    assert (said.argmax(axis=1) == mean.argmax(axis=1)).all()
    with export.Check() as check:
        export.write(result.network, tmp_path, classes=dataset.classes)
        check.submit(tmp_path, dataset.test.x)
        check.result(said, export.tolerance(result.network))


@pytest.mark.slow  # two families are trained
def test_a_family_counts_for_what_it_explains_of_the_held_out_rows():
    dataset = tiny.corners(600, 300)
    model, result = fitted(dataset, model="mlp cnn", members=2, epochs=1)
    scores = result.validation_scores(dataset)
    assert list(scores.families) == ["mlp", "cnn"]
    assert sum(scores.families.values()) == pytest.approx(1)
    assert scores.families["mlp"] != pytest.approx(0.5, abs=0.01)
    each = training.predict(probabilities(model), dataset.test.x)
    mean = np.einsum("rmc,m->rc", each, np.repeat([*scores.families.values()], 2) / 2)
    said = training.predict(result.network, dataset.test.x)
    assert said == pytest.approx(calibration.scaled(mean, scores.temperature), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((8, 8, 3), np.uint8), ((5, 9), np.uint8), ((50, 90), np.uint8), ((8, 8), np.float32)],
)
def test_images_of_other_shapes(shape, dtype):
    dataset = shaped(tiny.corners(120, 20), *shape, dtype=dtype)
    _, result = fitted(dataset, epochs=1, hidden=None)
    assert training.predict(result.network, dataset.test.x).shape == (200, 4)


@pytest.mark.parametrize(
    ("side", "channels"), [(4, (64,)), (8, (32, 64)), (28, (16, 32, 64)), (256, (32, 64, 128))]
)
def test_the_network_follows_the_size_of_the_images(side, channels):
    dataset = shaped(tiny.corners(40, 10), side, side)
    decided = planned(dataset, hidden=None)
    assert decided.chosen["hidden"] == channels
    assert decided.chosen["augment"] == ("shift", "rotate", "zoom")
    assert decided.config.training.changes == ("shift", "rotate", "zoom")
    smallest = min(
        layer.output.shape[1]
        for layer in models.build(decided.config, dataset).network.layers
        if len(layer.output.shape) == 4
    )
    assert 4 <= smallest <= 10


@pytest.mark.parametrize(
    ("members", "gpu", "epochs", "channels"),
    [(1, False, 20, (16, 32)), (3, False, 41, (16, 32)), (3, True, 83, (32, 64))],
)
def test_what_a_network_is_given_follows_members_and_device(members, gpu, epochs, channels):
    dataset = shaped(tiny.corners(31_000, 1000), 28, 28)
    options = Config.of(data="t", name="t", model="cnn", members=members)
    decided = plan.decide(options, dataset, gpu=gpu)
    assert (decided.chosen["epochs"], decided.chosen["hidden"][:2]) == (epochs, channels)
    assert any("GPU" in reason for reason in decided.reasons) == gpu


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((64,), {"model": "cnn"}, r"expected images.*\(64,\)"),
        ((3, 32), {"model": "cnn"}, "at least 4 × 4 pixels. Received: 3 × 32"),
        ((2, 2), {"model": "mlp cnn"}, "at least 4 × 4 pixels"),
        ((64,), {"model": "mlp", "augment": ("flip",)}, "shift, rotate, zoom, flip"),
        ((8, 8), {"model": "tabular"}, "expected auto, mlp or cnn"),
    ],
)
def test_data_that_a_network_does_not_take_is_a_usage_error(shape, options, words):
    dataset = shaped(tiny.corners(40, 10), *shape)
    with pytest.raises(UsageError, match=words):
        plan.decide(Config.of(data="t", name="t", **options), dataset, gpu=False)


@pytest.mark.slow
def test_no_member_s_weights_are_another_s():
    dataset = tiny.corners(240, 40)
    model, _ = fitted(dataset, model="mlp cnn", members=2, epochs=1)
    before = [np.array(weight) for weight in model.kept]
    model.drop(np.array([False, True, False, True]))
    said = training.predict(model.network, dataset.test.x)
    assert (said[:, [1, 3]] == 0).all()
    assert np.ptp(said[:, [0, 2]], axis=0).min() > 0
    changed = [(a != np.array(b)).any() for a, b in zip(before, model.kept, strict=True)]
    assert 0.5 < np.mean(changed) < 1


def test_validation_uses_the_averages_with_their_statistics():
    dataset = tiny.corners(240, 40)
    model, result = fitted(dataset, epochs=4)
    assert len(model.averages) == len(model.kept) > len(model.network.trainable_weights)
    chose = sorted({*dataset.validation_rows} - {*result.validation.rows})
    held = training.predict(model.network, dataset.train.x[chose])[:, 0]
    y = dataset.train.y[chose]
    true = held[np.arange(len(y)), y]
    loss = (np.log(np.exp(held).sum(axis=1)) - true).mean()
    best = min(each.val_loss for each in result.history)
    assert loss == pytest.approx(best, rel=1e-4)


def test_other_images_get_the_command_that_may_do_better():
    dataset = tiny.corners(40, 10)
    config = Config.of(data="my pets", name="pets", image_size=(8, 8), augment=("flip",))
    [words] = plan.worth_a_try(config, dataset)
    assert words.endswith(
        "mlp-job train --model=cnn '--data=my pets' '--image-size=8 8' --augment=flip --name=pets"
    )
    assert not plan.worth_a_try(config.replaced(model="mlp"), dataset)
    assert not plan.worth_a_try(Config(), dataclasses.replace(dataset, uri="mnist"))
    assert not plan.worth_a_try(config, tiny.flat(dataset))

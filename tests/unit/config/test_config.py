import json

import pytest

from job.config import GROUP_OF, OPTIONS, Config, envvar, flag
from job.errors import DataError, UsageError
from job.models import plan


def test_the_reference_model_is_the_default():
    assert Config().model.model == "auto"
    config = plan.reference(Config())
    assert (config.model.hidden, config.model.activation) == ((350, 50), "relu")
    assert (config.training.epochs, config.training.batch_size) == (10, 250)
    assert config.data.validation_split == 0.2
    assert config.model_name == "mnist"


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"dropout": 1.0},
        {"dropout": float("nan")},
        {"validation_split": 1.0},
        {"validation_split": -0.1},
        {"patience": 0},
        {"seed": -1},
        {"seed": 2**32},
        {"hidden": (350, 0)},
        {"min_accuracy": 1.5},
        {"name": "Upper"},
        {"name": "../climb"},
        {"run_id": "a/b"},
        {"run_id": ".."},
        {"attempt": ""},
    ],
)
def test_a_value_out_of_range_is_refused_with_what_was_received(bad):
    [(field, value)] = bad.items()
    with pytest.raises(UsageError) as caught:
        Config.of(**bad)
    assert caught.value.message.startswith(f"{flag(field)}: expected ")
    assert caught.value.message.endswith(f"Received: {value!r}.")


def test_other_data_needs_a_name_of_its_own():
    with pytest.raises(UsageError, match="--name: expected"):
        Config.of(data="digits.npz")
    assert Config.of(data="digits.npz", name="digits").model_name == "digits"


def test_patience_needs_rows_to_watch():
    with pytest.raises(UsageError, match="--patience: expected a validation split above 0"):
        Config.of(patience=3, validation_split=0)


def test_every_field_has_a_help_sentence():
    for name, option in OPTIONS.items():
        assert option.help.endswith("."), name
        assert (option.valid is None) == (option.expects == ""), name


def test_spellings():
    assert flag("batch_size") == "--batch-size"
    assert envvar("batch_size") == "MLP_JOB_BATCH_SIZE"


def test_groups_and_flat_names_are_one_configuration():
    config = Config.of(epochs=3, hidden=(8,), name="digits", margin=0.1, log_format="json")
    assert (config.training.epochs, config.publishing.name) == (3, "digits")
    assert Config.of(**config.flat()) == config
    assert config.replaced(epochs=4) == Config.of(**config.flat() | {"epochs": 4})
    assert list(config.flat()) == list(OPTIONS) == list(GROUP_OF)
    with pytest.raises(TypeError, match="epoch"):
        Config.of(epoch=3)


# Recorded configurations

FIRST = {
    "data": "mnist", "test_data": None, "label": None, "columns": [], "exclude": [], "number": [],
    "category": [], "group": None, "test_split": 0.2, "validation_split": 0.2, "image_size": [],
    "refuse_leakage": False, "cache": None, "hidden": [350, 50], "activation": "relu",
    "dropout": 0.0, "epochs": 10, "batch_size": 250, "learning_rate": 0.001,
    "class_weights": False, "patience": None, "seed": 0, "precision": "float32", "device": "auto",
    "xla": True, "checkpoint_every": None, "min_accuracy": None, "min_recall": None,
    "margin": 0.005, "confidence": 0.95, "rejection_ok": False, "store": "./models", "name": None,
    "run_id": None, "attempt": None, "skip_unchanged": False, "store_timeout": 180.0,
    "metrics_file": None, "log_format": "auto", "termination_log": None,
}  # fmt: skip
"""The options of version 0.1.0, each with the value that it had there by default."""


def test_a_recorded_configuration_is_read_as_its_version_behaved():
    """Whatever the defaults become: neither `reproduce` nor a retry may change by an upgrade."""
    of_nothing = Config.recorded({}).flat()
    for name, value in FIRST.items():
        expected = tuple(value) if isinstance(value, list) else value
        assert of_nothing[name] == expected, f"{name}: set option(recorded=...)"
        rest = {key: FIRST[key] for key in FIRST if key != name}
        assert Config.recorded(rest).flat()[name] == expected


def test_a_recorded_configuration_comes_back_as_it_was():
    config = Config.of(
        data="churn.csv", name="churn", label="y", exclude=("a b", "c"), hidden=(8,), patience=2,
        learning_rate=1, min_accuracy=0.5,
    )  # fmt: skip
    assert Config.recorded(json.loads(json.dumps(config.flat()))) == config
    assert Config.recorded(config.flat() | {"an_option_of_later": 3}) == config


@pytest.mark.parametrize("bad", [{"epochs": "ten"}, {"epochs": 0}, {"device": "tpu"}])
def test_a_recorded_value_that_this_version_does_not_have_is_bad_data(bad):
    with pytest.raises(DataError, match="Expected a recorded configuration"):
        Config.recorded(bad)


def test_a_new_option_leaves_the_fingerprint_of_old_configurations_as_it_was():
    old = plan.resumed(Config(), None)
    assert set(old.model_options()) == {
        "label", "columns", "exclude", "number", "category", "group", "test_split",
        "validation_split", "image_size", "hidden", "activation", "dropout", "epochs",
        "batch_size", "learning_rate", "class_weights", "patience", "seed", "precision", "xla",
    }  # fmt: skip


def test_lists_as_the_command_line_gives_them_are_the_same_configuration():
    listed = Config.of(hidden=[350, 50], text=[], columns=[], csv=[])
    tuples = Config.of(hidden=(350, 50), text=(), columns=(), csv=())
    assert listed == tuples
    assert listed.model_options() == tuples.model_options()

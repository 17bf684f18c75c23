import dataclasses

import pytest

from job.config import Config, envvar, flag
from job.errors import UsageError


def test_the_reference_model_is_the_default():
    config = Config()
    assert (config.hidden, config.activation, config.epochs) == ((350, 50), "relu", 10)
    assert (config.batch_size, config.validation_split) == (250, 0.2)
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
        Config(**bad)
    assert caught.value.message.startswith(f"{flag(field)}: expected ")
    assert caught.value.message.endswith(f"Received: {value!r}.")


def test_other_data_needs_a_name_of_its_own():
    with pytest.raises(UsageError, match="--name: expected"):
        Config(data="digits.npz")
    assert Config(data="digits.npz", name="digits").model_name == "digits"


def test_patience_needs_rows_to_watch():
    with pytest.raises(UsageError, match="--patience: expected a validation split above 0"):
        Config(patience=3, validation_split=0)


def test_every_field_has_a_help_sentence():
    for field in dataclasses.fields(Config):
        assert field.metadata["help"].endswith("."), field.name
        assert (field.metadata["valid"] is None) == (field.metadata["expects"] == ""), field.name


def test_spellings():
    assert flag("batch_size") == "--batch-size"
    assert envvar("batch_size") == "MLP_JOB_BATCH_SIZE"

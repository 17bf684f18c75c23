"""Whether a retry has the options and the data of what its run has published."""

import dataclasses
from datetime import UTC, datetime

import drafts
import pytest

from job.config import MODEL_OPTIONS, OPTIONS, Config
from job.errors import UsageError
from job.registry.fingerprint import expect_same
from job.registry.manifest import Manifest

FIRST = {
    "hidden": [350, 50], "activation": "relu", "dropout": 0.0, "epochs": 10, "batch_size": 250,
    "learning_rate": 0.001, "validation_split": 0.2, "patience": None, "seed": 0,
    "precision": "float32", "xla": True, "class_weights": False, "label": None, "columns": [],
    "exclude": [], "number": [], "category": [], "group": None, "test_split": 0.2,
    "image_size": [],
}  # fmt: skip
"""What the first version recorded of the options that make a model, at its defaults."""


def manifest(config: dict[str, object]) -> Manifest:
    draft = dataclasses.replace(drafts.draft("r"), config=config)
    fields = {field.name: getattr(draft, field.name) for field in dataclasses.fields(draft)}
    return Manifest(
        **fields, schema_version=1, name="mnist", version=3, created=datetime.now(UTC), files={}
    )


@pytest.mark.parametrize("unknown", [None, *FIRST])
def test_a_retry_after_an_upgrade_is_the_run_of_before(unknown):
    """The old version knew none of today's newer options, or lacked one of its own."""
    recorded = {name: value for name, value in FIRST.items() if name != unknown}
    published = manifest(recorded)
    expect_same(Config(), published.data.digest, published)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"epochs": 11}, {"hidden": (8,)}])
def test_another_configuration_is_rejected(changed):
    published = manifest(FIRST)
    with pytest.raises(UsageError, match="--run-id: expected the options and the data"):
        expect_same(Config.of(**changed), published.data.digest, published)


def test_other_data_is_rejected():
    published = manifest(FIRST)
    with pytest.raises(UsageError, match="--run-id"):
        expect_same(Config(), "1" * 64, published)


def test_an_option_that_is_newer_than_fingerprints_is_left_out_as_old_versions_behaved():
    newer = [name for name in MODEL_OPTIONS if name not in FIRST]
    behaved = {name: OPTIONS[name].recorded for name in newer}
    assert set(Config().replaced(**behaved).model_options()) == set(FIRST)

"""Free text is learned from by itself where its words lower the loss."""

import dataclasses

import churn
import numpy as np
import pytest

from job import data, device
from job.config import Config
from job.models import plan
from job.training import free_text

WORDS = [f"{a}{b}" for a in ("red", "old", "far", "dry", "low", "new") for b in "abcdefghij"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    device.prepare("cpu")
    rng, table = np.random.default_rng(0), churn.rows(900)
    for row in table:
        mood = "furious" if row["churned"] == "yes" else "content"
        told = [mood if rng.random() < 0.7 else "nothing", *rng.choice(WORDS, 3)]
        row["call"] = " ".join(rng.permutation(told))
        row["remark"] = " ".join(rng.choice(WORDS, 4))
    return churn.write_csv(tmp_path_factory.mktemp("t") / "churn.csv", table)


def load(path, **options):
    config = Config.of(data=str(path), name="t", label="churned", **options)
    return config, data.load(
        str(path), test_uri=None, validation_split=plan.holdout(config), scratch=path.parent,
        reading=config.data,
    )  # fmt: skip


@pytest.mark.slow
def test_words_that_lower_the_loss_are_kept_and_others_are_not(path):
    config, dataset = load(path)
    names = free_text.candidates(config, dataset)
    assert names == ("call", "remark")  # identifiers are none
    _, with_text = load(path, text=names)
    call, remark = free_text.tried(config, with_text, names, lambda: False)
    assert call.kept
    assert call.loss < call.without
    assert not remark.kept
    assert remark.without == call.without


def test_nothing_is_tried_where_too_few_groups_are_left_to_decide(path):
    text = ("call", "remark")
    config, dataset = load(path, text=text)
    groups = np.arange(len(dataset.train), dtype=np.uint64) % 3
    few = dataclasses.replace(dataset, table=dataclasses.replace(dataset.table, keys=groups))
    assert free_text.tried(config, few, text, lambda: False) == ()


@pytest.mark.parametrize("options", [{"text": ("call",)}, {"text": ()}, {"model": "mlp"}])
def test_nothing_is_tried_where_the_user_has_chosen(options, path):
    assert free_text.candidates(*load(path, **options)) == ()

"""One experiment: what a retry knows of the try before it."""

import dataclasses

import numpy as np
import pytest
import tiny

from job import device
from job.config import Config
from job.experiment import Saves, Watch, train_and_score
from job.process.timing import Clock
from job.storage import open_store


@pytest.mark.slow
def test_a_retry_says_what_was_chosen_and_why(tmp_path):
    dataset = tiny.corners(240, 0)
    y = dataset.train.y.copy()
    y[np.flatnonzero(y == 0)[4:]] = 1
    rare = dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, y=y))
    config = Config.of(data="t", name="t", members=2, hidden=(8,), epochs=1, xla=False)
    saves = Saves(store=open_store(str(tmp_path)), name="t", run_id="r")
    info, plans = device.prepare("cpu"), []
    fits = [
        train_and_score(
            config, rare, info, clock=Clock(), saves=saves, watch=Watch(planned=plans.append)
        )
        for _ in range(2)
    ]
    assert "4 folds in turn, not 5" in fits[0].notes[0]
    assert fits[1].notes == fits[0].notes
    assert plans[1].chosen.keys() == plans[0].chosen.keys()

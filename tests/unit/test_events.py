"""Events whose words depend on what came before."""

import io

import pytest

from job import events
from job.process import log
from job.training.state import EpochResult


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((2.5, 0.125, 0.1), ["640 s: 256 epochs of 2.50 s", "34 s: 256 epochs of 0.12 s"]),
        ((2.5, 2.4, 0.1), ["640 s: 256 epochs of 2.50 s"]),  # 25 s less
    ],
)
def test_the_second_epoch_corrects_an_estimate_that_was_much_too_high(seconds, said, monkeypatch):
    monkeypatch.setattr(log.logger, "handlers", [])
    out = io.StringIO()
    log.setup("text", out)
    results = []
    for each in seconds:
        result = {"epoch": len(results) + 1, "seconds": each, "loss": 1.0, "accuracy": 0.5}
        results.append(EpochResult(**result, val_loss=None, val_accuracy=None))
        events.epoch_ended(results, epochs=256)
    lines = out.getvalue().splitlines()
    estimates = [line for line in lines if not line.startswith("Epoch")]
    assert estimates == [f"Training will take at most {each}." for each in said]

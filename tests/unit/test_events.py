"""Events whose words depend on what came before."""

import io

import pytest

from job import events, training
from job.process import log
from job.training.state import EpochResult


@pytest.fixture
def out():
    """What a person reads."""
    handlers, stream = log.logger.handlers, io.StringIO()
    log.setup("text", stream)
    yield stream
    log.logger.handlers = handlers


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        ((2.5, 0.125, 0.1), ["640 s: 256 epochs of 2.50 s", "34 s: 256 epochs of 0.12 s"]),
        ((2.5, 2.4, 0.1), ["640 s: 256 epochs of 2.50 s"]),  # 25 s less
    ],
)
def test_the_second_epoch_corrects_an_estimate_that_was_much_too_high(seconds, said, out):
    results = []
    for each in seconds:
        result = {"epoch": len(results) + 1, "seconds": each, "loss": 1.0, "accuracy": 0.5}
        results.append(EpochResult(**result, val_loss=None, val_accuracy=None))
        events.epoch_ended(results, epochs=256)
    lines = out.getvalue().splitlines()
    estimates = [line for line in lines if not line.startswith("Epoch")]
    assert estimates == [f"Training will take at most {each}." for each in said]


def test_one_epoch_is_no_epochs(out):
    epoch = EpochResult(
        epoch=1, seconds=1.0, loss=1.0, accuracy=0.5, val_loss=None, val_accuracy=None
    )
    fitted = training.Fitted(
        history=(epoch,), best_epoch=1, kept_epoch=1, network=None, validation=None,
        time_limited=1, trace_seconds=0.0, compile_seconds=0.0, run_seconds=1.0,
        rows_per_second=1.0,
    )  # fmt: skip
    events.time_limited(fitted)
    assert "ended training after 1 epoch, 1 step; the best" in out.getvalue()

import dataclasses

import numpy as np
import pytest
import tiny
from test_training import bits, trained

from job import device, training
from job.config import Config
from job.errors import Preempted
from job.models import mlp, plan
from job.training import blocks, feeds


@pytest.fixture
def many_windows(monkeypatch):
    """Streams whose windows hold four steps of 50 rows, so that a pass has several."""
    monkeypatch.setattr(feeds, "WINDOW_BYTES", 4 * 50 * 68)


def stream(rows, batch_size, *, seed=0, window_rows=40):
    """A stream over rows that hold their own number."""
    x = np.arange(rows.max() + 1, dtype=np.float32)[:, None]
    y = np.arange(len(x), dtype=np.int32)
    return feeds.Streamed(
        x, y, rows, batch_size=batch_size, seed=seed, window_bytes=8 * window_rows
    )


def taken(feed, number):
    """The rows of each step of a pass."""
    found = []
    step = 0
    while step < feed.steps:
        window = feed.window(number, step)
        numbers = np.asarray(window.y)
        ends = window.first_step + window.steps == feed.steps and len(window.rest)
        found += [numbers[row] for row in np.asarray(window.grid)[: window.steps - bool(ends)]]
        if ends:
            found.append(numbers[np.asarray(window.rest)])
        assert (np.asarray(window.x)[:, 0] == numbers).all()
        step += window.steps
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 10, 40, 1000])
@pytest.mark.parametrize("window_rows", [1, 40, 64, 10_000])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_pass_has_each_row_once_in_full_batches_and_a_rest(batch_size, window_rows, gaps):
    rows = np.arange(333)
    rows = rows[rows % 3 != 1] if gaps else rows
    feed = stream(rows, batch_size, window_rows=window_rows)
    for number in (0, 1):
        steps = taken(feed, number)
        assert len(steps) == feed.steps
        assert all(len(step) == batch_size for step in steps[:-1])
        assert sorted(np.concatenate(steps)) == rows.tolist()


def test_the_order_is_a_function_of_seed_and_pass_alone():
    rows = np.arange(1000)
    whole = [np.concatenate(taken(stream(rows, 10), number)).tolist() for number in (0, 1)]
    assert whole[0] != whole[1]
    assert np.concatenate(taken(stream(rows, 10, seed=1), 0)).tolist() != whole[0]
    again = stream(rows, 10)
    assert np.concatenate(taken(again, 1)).tolist() == whole[1]
    assert np.concatenate(taken(again, 0)).tolist() == whole[0]


def test_rows_of_a_window_come_from_all_over_the_data():
    steps = taken(stream(np.arange(100_000), 100, window_rows=10_000), 0)
    means = [step.mean() for step in steps]
    assert np.std(means) < 100_000 / 12**0.5 / 100**0.5 * 2  # as of rows drawn at random, twice
    assert np.corrcoef(np.arange(len(means)), means)[0, 1] < 0.5


def test_validation_streams_in_the_order_of_the_rows():
    rows = np.arange(3, 333, 2)
    feed = stream(rows, 10, seed=None)
    assert np.concatenate(taken(feed, 0)).tolist() == rows.tolist()
    assert np.concatenate(taken(feed, 5)).tolist() == rows.tolist()


def test_a_window_in_the_middle_is_read_without_the_ones_before():
    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, at):
            found = super().__getitem__(at)
            Counted.read += len(found) if isinstance(at, slice | np.ndarray) else 0
            return found

    x = np.arange(10_000, dtype=np.float32)[:, None].view(Counted)
    y = np.arange(10_000, dtype=np.int32)
    feed = feeds.Streamed(x, y, np.arange(10_000), batch_size=10, seed=0, window_bytes=800)
    late = feed.window(0, 900)
    assert late.first_step == 900
    feed._reader.shutdown()
    assert Counted.read <= 200  # this window, and the next one


@pytest.mark.slow
@pytest.mark.usefixtures("many_windows")
@pytest.mark.parametrize(
    "options", [{}, {"augment": ("shift", "flip"), "batch_size": 64}, {"xla": False}]
)
def test_a_streamed_training_has_the_same_bits_in_blocks_of_any_size(options, monkeypatch):
    reference = bits(trained(feed="stream", **options)[0])
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 0.0)  # one step a block
    assert bits(trained(feed="stream", **options)[0]) == reference
    assert bits(trained(feed="stream", **options, seed=1)[0]) != reference


@pytest.mark.usefixtures("many_windows")
def test_a_streamed_training_does_as_well_as_one_in_memory():
    dataset = tiny.corners()
    scores = []
    for feed in ("memory", "stream"):
        net, fitted = trained(dataset, feed=feed, epochs=12)
        assert fitted.history[-1].val_accuracy > 0.9
        scores.append((training.predict(net, dataset.test.x).argmax(1) == dataset.test.y).mean())
    assert scores[0] == pytest.approx(scores[1], abs=0.03)


@pytest.mark.slow
@pytest.mark.usefixtures("many_windows")
@pytest.mark.parametrize("after", [1, 3, 4, 7, 8, 9, 10, 14])
def test_a_stream_that_was_stopped_anywhere_goes_on_with_the_same_bits(after, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_SECONDS", 0.0)
    dataset = tiny.corners()
    config = Config.of(hidden=(16,), epochs=2, batch_size=64, feed="stream")
    device.prepare("cpu")
    whole = mlp.build(config, dataset)
    training.fit(whole, dataset, config)

    asked, states = [], []

    def stop():
        asked.append(1)
        return len(asked) > after

    first, second = mlp.build(config, dataset), mlp.build(config, dataset)
    with pytest.raises(Preempted):
        training.fit(first, dataset, config, should_stop=stop, save=states.append)
    training.fit(second, dataset, config, resume=states[-1])
    assert bits(second) == bits(whole)


def test_the_feed_follows_the_size_of_the_device():
    dataset = tiny.corners()

    def chosen(device_bytes, **options):
        return plan.decide(Config.of(**options), dataset, gpu=True, device_bytes=device_bytes)

    assert chosen(1 << 30).config.data.feed == "memory"
    streamed = chosen(dataset.nbytes)
    assert streamed.config.data.feed == "stream"
    assert "--feed" in streamed.reasons[-1]
    assert chosen(dataset.nbytes, feed="memory").config.data.feed == "memory"
    assert chosen(1 << 30, feed="stream").config.data.feed == "stream"


def test_a_retry_keeps_the_feed_of_its_run():
    for feed in ("memory", "stream"):
        assert plan.resumed(Config(), {"feed": feed}).data.feed == feed
    assert plan.resumed(Config(), None).data.feed == "memory"  # earlier versions had no other
    assert plan.resumed(Config(), {"model": "mlp"}).data.feed == "memory"


def test_rows_in_a_file_are_streamed_as_rows_in_memory(tmp_path):
    dataset = tiny.corners()
    for part in ("x", "y"):
        np.save(tmp_path / part, getattr(dataset.train, part))
    mapped = {part: np.load(tmp_path / f"{part}.npy", mmap_mode="r") for part in ("x", "y")}
    filed = dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, **mapped))
    assert bits(trained(filed, feed="stream")[0]) == bits(trained(dataset, feed="stream")[0])

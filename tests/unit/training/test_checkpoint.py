import dataclasses
import json
import os

import numpy as np
import proxy as proxies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from job.errors import DataError, UsageError
from job.process.shutdown import GRACE
from job.storage import open_store
from job.training import checkpoint
from job.training.checkpoint import Checkpoints, is_due
from job.training.packed import Header, digest, pack, unpack
from job.training.state import EpochResult, Patience, Position, State

RESULT = EpochResult(epoch=1, seconds=0.5, loss=0.1, accuracy=0.9, val_loss=0.25, val_accuracy=None)


def state(step=3, **arrays):
    arrays = arrays or {
        "model/0": np.arange(6, dtype=np.float32).reshape(2, 3),
        "model/1": np.array([1, 2], np.uint32),
        "optimizer/0": np.array(7, np.int64),
        "best/0": np.zeros((0, 3), np.float32),
    }
    patience = Patience(wait=1, best=1 / 3, best_epoch=0, stopped_epoch=0)
    position = Position(epoch=1, step=step, finished=False, history=(RESULT,), patience=patience)
    return State(position=position, arrays=arrays)


def same(a, b):
    return a.position == b.position and digest(a.arrays) == digest(b.arrays)


def header(of, **changes):
    values = {"run_id": "r", "fingerprint": "f", "made_on": {"device": "x"}, "sequence": 1}
    values |= {"position": of.position, "exact": True}
    return Header(schema_version=1, **(values | changes))


def checkpoints(
    uri,
    run_id="run-1",
    fingerprint="f" * 64,
    device="cpu",
    every=None,
    spare="",
    report=id,
    repeats=True,
):
    return Checkpoints(
        open_store(uri),
        f"m/runs/{run_id}",
        spare=open_store(spare or uri + "-spare"),
        run_id=run_id,
        fingerprint=lambda chosen: fingerprint,
        environment={"device": device},
        every=every,
        report=report,
        repeats=repeats,
    )


def test_a_state_comes_back_to_the_bit():
    before = state()
    head, after = unpack(pack(header(before), before), uri="x")
    assert same(before, after)
    assert head == header(before)


def test_there_is_no_pickle_in_it():
    evil = np.array([os.system], dtype=object)
    with pytest.raises(SafetensorError):
        pack(header(state()), dataclasses.replace(state(), arrays={"x": evil}))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_torn_or_damaged_checkpoint_is_rejected(data):
    whole = pack(header(state()), state())
    if data.draw(st.booleans()):
        torn = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at = data.draw(st.integers(0, len(whole) - 1))
        torn = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    with pytest.raises(DataError):
        unpack(torn, uri="slot")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F32"])
def test_tensors_of_something_else_are_rejected(dtype):
    size = {"BF16": 2, "F8_E4M3": 1, "F32": 4}[dtype]
    told = {"x": {"dtype": dtype, "shape": [3], "data_offsets": [0, 3 * size]}}
    text = json.dumps(told).encode()
    with pytest.raises(DataError, match="expected a checkpoint"):
        unpack(len(text).to_bytes(8, "little") + text + bytes(3 * size), uri="slot")


def test_nothing_to_resume_in_a_fresh_run(store_uri):
    fresh = checkpoints(store_uri)
    assert fresh.latest() is None
    assert fresh.exact is None


def test_the_newest_of_the_two_slots_counts(store_uri):
    writer = checkpoints(store_uri)
    for step in range(1, 6):
        place = writer.save(state(step))
        assert place == {"key": place["key"], "epoch": 1, "step": step}
        reader = checkpoints(store_uri)
        assert same(reader.latest(), state(step))
        assert reader.exact is True
    resumed = checkpoints(store_uri)
    resumed.latest()
    resumed.save(state(9))
    assert same(checkpoints(store_uri).latest(), state(9))
    slots = {entry.key.rpartition("/")[2] for entry in open_store(store_uri).list("m/runs")}
    assert slots == set(checkpoint.SLOTS)


@pytest.mark.parametrize("damage", [b"", b"torn", "cut"])
def test_a_bad_slot_costs_one_checkpoint(store_uri, damage):
    writer = checkpoints(store_uri)
    writer.save(state(1))
    key = writer.save(state(2))["key"]
    store = open_store(store_uri)
    store.write(key, store.read(key)[0][:-1] if damage == "cut" else damage)
    assert same(checkpoints(store_uri).latest(), state(1))


def test_another_runs_checkpoint_is_left_out(store_uri):
    key = checkpoints(store_uri, run_id="run-2").save(state(5))["key"]
    store = open_store(store_uri)
    store.write(key.replace("run-2", "run-1"), store.read(key)[0])
    assert checkpoints(store_uri, run_id="run-1").latest() is None


def test_other_options_or_data_under_the_same_run_id_are_rejected(store_uri):
    checkpoints(store_uri).save(state())
    with pytest.raises(UsageError, match="--run-id: expected the options and the data"):
        checkpoints(store_uri, fingerprint="e" * 64).latest()


def test_on_another_device_it_goes_on_and_says_so(store_uri):
    checkpoints(store_uri).save(state())
    elsewhere = checkpoints(store_uri, device="gpu")
    assert same(elsewhere.latest(), state())
    assert elsewhere.exact is False
    elsewhere.save(state(4))
    again = checkpoints(store_uri, device="gpu")
    again.latest()
    assert again.exact is False  # whoever resumes there has not always been there


def test_a_device_that_does_not_repeat_its_bits_says_so(store_uri):
    checkpoints(store_uri).save(state())
    told = []
    checkpoints(store_uri, repeats=False, report=told.append).latest()
    assert [(notice.exact, notice.elsewhere) for notice in told] == [(False, False)]


def test_how_often_is_chosen_or_set(tmp_path):
    always = checkpoints(str(tmp_path), every=0)
    assert always.due()
    never = checkpoints(str(tmp_path), every=1e9)
    never.save(state())
    assert not never.due()
    chosen = checkpoints(str(tmp_path))
    assert not chosen.due()  # not within the first seconds


@pytest.mark.parametrize(("took", "at", "due"), [
    (0.0, 9, False), (0.0, 11, True), (1.0, 49, False), (1.0, 51, True), (9.0, 440, False),
])  # fmt: skip
def test_saving_takes_two_per_cent_at_most(took, at, due):
    assert is_due(None, cost=took, since=at) is due
    assert is_due(5.0, cost=took, since=4) is False
    assert is_due(5.0, cost=took, since=6) is True


@pytest.mark.slow
def test_a_checkpoint_that_takes_longer_than_a_pod_is_given_is_reported(s3, s3_uri, monkeypatch):
    reported = []
    with proxies.serve(s3.env) as proxy:
        for name, value in proxy.env.items():
            monkeypatch.setenv(name, value)
        checkpoints(s3_uri, report=reported.append).save(state())
        assert [type(notice) for notice in reported] == [checkpoint.Saved]
        proxy.delay = GRACE + 0.5
        checkpoints(s3_uri, report=reported.append).save(state())
    assert isinstance(reported[-1], checkpoint.Slow)
    assert reported[-1].grace == GRACE


def test_a_pod_that_was_taken_for_dead_overwrites_nothing(store_uri, tmp_path):
    reported = []
    dead = checkpoints(store_uri, spare=str(tmp_path / "dead"), report=reported.append)
    dead.latest()
    dead.save(state(1))
    successor = checkpoints(store_uri)
    successor.latest()
    for step in (2, 3):
        successor.save(state(step))
    dead.save(state(9))
    (failed,) = (each for each in reported if isinstance(each, checkpoint.NotSaved))
    assert "a checkpoint of another pod of run run-1" in failed.error.message
    assert same(checkpoints(store_uri).latest(), state(3))


def test_a_run_that_has_published_discards_its_checkpoints(store_uri):
    writer = checkpoints(store_uri)
    for step in (1, 2):
        writer.save(state(step))
    store = open_store(store_uri)
    store.write("m/runs/run-1/version", b"1")
    checkpoint.discard(store, "m/runs/run-1")
    checkpoint.discard(store, "m/runs/run-1")
    assert [entry.key for entry in store.list("m/runs")] == ["m/runs/run-1/version"]


def test_what_may_not_be_deleted_is_left(s3, s3_uri, monkeypatch):
    checkpoints(s3_uri).save(state())
    for name, value in s3.identity().items():
        monkeypatch.setenv(name, value)
    checkpoint.discard(open_store(s3_uri), "m/runs/run-1")
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    assert len(list(open_store(s3_uri).list("m/runs"))) == 1

"""Which run a job resumes, and which errors keep others from resuming one."""

import json

import pytest
from drafts import draft
from registries import Registry

from job.errors import (
    DataError,
    DeviceOutOfMemory,
    JobError,
    StoreError,
    TrainingDiverged,
    UsageError,
)
from job.registry import runs
from job.registry.runs import Identity
from job.storage import open_store

SOURCE = "f" * 64


@pytest.fixture
def registry(store_uri: str) -> Registry:
    return Registry(open_store(store_uri), "mnist")


def identity(run_id: str, source: str = SOURCE) -> Identity:
    return Identity(run_id=run_id, attempt="pod-1", source=source)


def begin(registry: Registry, run_id: str, source: str = SOURCE, resume: bool = True) -> str:
    return runs.begin(registry, identity(run_id, source), resume=resume).run_id


def save(registry: Registry, run_id: str, slot: str = "checkpoint-b") -> None:
    registry.store.write(f"mnist/runs/{run_id}/{slot}", b"a checkpoint")


def fail(registry: Registry, run_id: str, error: Exception, source: str = SOURCE) -> None:
    with (
        pytest.raises(type(error)),
        runs.marked(registry, identity(run_id, source), on_error=lambda error: None),
    ):
        raise error


def a_job_error(kind: type[JobError]) -> JobError:
    return kind("Expected this. Received that.", hint="Try again.")


def test_the_first_run_of_a_store_is_its_own(registry):
    assert begin(registry, "a") == "a"


def test_an_unfinished_run_is_resumed_and_all_pods_of_the_job_agree(registry):
    assert begin(registry, "a") == "a"
    save(registry, "a")
    assert begin(registry, "b") == "a"
    assert begin(registry, "c") == "a"
    # what one pod has chosen holds for the others, whatever has happened to the run meanwhile
    fail(registry, "a", a_job_error(TrainingDiverged))
    assert begin(registry, "b") == "a"
    assert runs.check(registry, identity("b"))[0].run_id == "a"
    assert begin(registry, "d") == "d"


def test_only_when_asked(registry):
    begin(registry, "a")
    save(registry, "a")
    assert begin(registry, "b", resume=False) == "b"
    assert begin(registry, "b", resume=True) == "b"  # it has begun by itself


def test_a_run_that_makes_no_progress_is_resumed_twice(registry):
    begin(registry, "a")
    save(registry, "a")
    assert [begin(registry, each) for each in "bcd"] == ["a", "a", "d"]
    registry.store.write("mnist/runs/a/checkpoint-a", b"a later checkpoint")
    assert [begin(registry, each) for each in "efg"] == ["a", "a", "g"]
    assert begin(registry, "c") == "a"  # a pod of a job that has resumed it goes on


def test_a_run_without_a_checkpoint_is_not_resumed(registry):
    begin(registry, "a")
    assert begin(registry, "b") == "b"


def test_a_run_of_other_data_options_or_versions_is_not_resumed(registry):
    begin(registry, "a")
    save(registry, "a")
    assert begin(registry, "b", "e" * 64) == "b"


def test_a_run_that_has_published_is_not_resumed_but_one_that_was_about_to_is(registry, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"a model")
    begin(registry, "a")
    save(registry, "a")
    version = registry.claim("a", "pod-1")
    files = registry.upload(tmp_path, version, "pod-1")
    assert begin(registry, "b") == "a"
    registry.commit(version, draft("a"), files)
    assert begin(registry, "c") == "c"
    run, published = runs.check(registry, identity("b"))
    assert (run.run_id, published and published.manifest.version) == ("a", version)


def test_a_run_of_an_earlier_version_of_the_program_is_not_resumed(registry):
    save(registry, "a", "checkpoint-a")
    assert begin(registry, "b") == "b"


def test_a_damaged_record_of_another_run_stops_nobody(registry):
    save(registry, "a")
    registry.store.write("mnist/runs/a/run.json", b"{")
    assert begin(registry, "b") == "b"
    with pytest.raises(DataError, match=r"runs/a/run\.json: expected a run in JSON"):
        begin(registry, "a")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (a_job_error(TrainingDiverged), 70),
        (a_job_error(DeviceOutOfMemory), 71),
        (a_job_error(UsageError), 2),
        (ZeroDivisionError(), 1),
    ],
)
def test_a_run_that_failed_by_itself_is_never_resumed(registry, error, code):
    begin(registry, "a")
    save(registry, "a")
    fail(registry, "a", error)
    record, _ = registry.store.read("mnist/runs/a/run.json")
    assert json.loads(record)["failed"] == code
    assert begin(registry, "b") == "b"


@pytest.mark.parametrize("kind", [StoreError, DataError])
def test_a_run_that_its_surroundings_stopped_is_resumed(registry, kind):
    begin(registry, "a")
    save(registry, "a")
    fail(registry, "a", a_job_error(kind))
    assert begin(registry, "b") == "a"


def test_a_mistyped_option_under_its_run_id_does_not_mark_a_run(registry):
    begin(registry, "a")
    save(registry, "a")
    fail(registry, "a", a_job_error(UsageError), source="e" * 64)
    assert begin(registry, "b") == "a"


def test_the_newest_unfinished_run_is_resumed(registry):
    for run_id, day in (("b", 2), ("c", 3), ("a", 1)):
        begin(registry, run_id)
        key = f"mnist/runs/{run_id}/run.json"
        document = json.loads(registry.store.read(key)[0])
        document["created"] = f"2026-01-0{day}T00:00:00Z"
        registry.store.write(key, json.dumps(document).encode())
    for run_id in "abc":
        save(registry, run_id)
    assert begin(registry, "d") == "c"


def test_a_store_that_does_not_take_the_mark_is_reported(registry):
    begin(registry, "a")
    registry.store.write("mnist/runs/a/run.json", b"{")
    reported: list[JobError] = []
    with (
        pytest.raises(ZeroDivisionError),
        runs.marked(registry, identity("a"), reported.append),
    ):
        raise ZeroDivisionError
    assert [type(error) for error in reported] == [DataError]

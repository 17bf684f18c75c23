"""Patient: what is retried, for how long, and what is reported."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job.errors import AccessDenied, StoreError
from job.storage import open_store
from job.storage.local import LocalStore
from job.storage.patient import PAUSES, Patient, Retry


class Failing(LocalStore):
    """A real folder whose operations fail as often as told."""

    def __init__(self, uri: str, failures: list[Exception]) -> None:
        super().__init__(uri)
        self.failures = failures
        self.tries = 0

    def read(self, key: str) -> tuple[bytes, str]:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return super().read(key)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.storage.patient.PAUSES", (0.01,) * len(PAUSES))


def down(times: int) -> list[Exception]:
    return [StoreError("Down.", hint="Wait.") for _ in range(times)]


def store(tmp_path: Path, failures: list[Exception]) -> Failing:
    (tmp_path / "key").write_bytes(b"x")
    return Failing(str(tmp_path), failures)


def test_an_operation_is_retried_until_it_works_and_each_failure_is_reported(
    tmp_path: Path,
) -> None:
    seen: list[Retry] = []
    failing = store(tmp_path, down(3))
    assert Patient(failing, 60, seen.append).read("key")[0] == b"x"
    assert failing.tries == 4
    assert [retry.error.message for retry in seen] == ["Down."] * 3


def test_the_last_error_is_raised_when_the_time_is_over_and_what_follows_is_tried_once(
    tmp_path: Path,
) -> None:
    failing = store(tmp_path, down(10_000))
    patient = Patient(failing, 0.1)
    with pytest.raises(StoreError, match="Down"):
        patient.read("key")
    tries = failing.tries
    assert tries > 1
    for _ in range(3):
        with pytest.raises(StoreError):
            patient.read("key")
    assert failing.tries == tries + 3
    failing.failures.clear()
    assert patient.read("key")[0] == b"x"
    failing.failures[:] = down(2)
    assert patient.read("key")[0] == b"x"  # it has time again


def test_denied_access_is_final_until_the_store_has_let_the_run_in(tmp_path: Path) -> None:
    def denied() -> list[Exception]:
        return [AccessDenied("Expired.", hint="Log in.")]

    failing = store(tmp_path, denied())
    patient = Patient(failing, 60)
    with pytest.raises(AccessDenied):
        patient.read("key")
    failing.failures[:] = denied()
    patient.admit()
    assert patient.read("key")[0] == b"x"
    failing.failures[:] = denied() * 10_000
    patient = Patient(failing, 0)
    patient.admit()
    with pytest.raises(StoreError, match="Expired") as caught:
        patient.read("key")
    assert "allowed when the run began" in caught.value.hint
    failing.failures[:] = denied()
    with pytest.raises(AccessDenied):
        patient.at(str(tmp_path)).retry(lambda: failing.read("key"))  # other data, not let in


def test_within_a_shorter_time_nothing_is_retried(tmp_path: Path) -> None:
    failing = store(tmp_path, down(1))
    patient = Patient(failing, 60)
    with patient.within(5), pytest.raises(StoreError):
        patient.read("key")
    failing.failures[:] = down(1)
    assert patient.read("key")[0] == b"x"


def test_a_whole_task_is_retried_and_ends_although_its_parts_work(tmp_path: Path) -> None:
    patient = Patient(store(tmp_path, []), 0.1)

    def task() -> bytes:
        body, _ = patient.read("key")
        raise StoreError(f"Replaced while it was read: {body!r}.", hint="Retry.")

    with pytest.raises(StoreError, match="Replaced"):
        patient.retry(task)
    rounds = iter([*down(2), None])

    def better() -> bytes:
        failure = next(rounds)
        if failure:
            raise failure
        return patient.read("key")[0]

    assert Patient(store(tmp_path, []), 60).retry(better) == b"x"


def test_failures_of_several_threads_at_once_are_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.storage.patient.PAUSES", (0.5,))
    together = threading.Barrier(4)
    seen: list[Retry] = []
    patient = Patient(open_store(str(tmp_path)), 60, seen.append)

    def task() -> Callable[[], str]:
        rounds = iter([*down(1), None])

        def use() -> str:
            failure = next(rounds)
            if failure:
                together.wait()
                raise failure
            return "done"

        return use

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda _: patient.retry(task()), range(4))] == ["done"] * 4
    assert len(seen) == 1


def test_the_pause_is_no_longer_than_the_time_that_is_left(tmp_path: Path) -> None:
    seen: list[Retry] = []
    with pytest.raises(StoreError):
        Patient(store(tmp_path, down(10_000)), 0.05, seen.append).read("key")
    assert all(retry.pause <= 0.05 for retry in seen)

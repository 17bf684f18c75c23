import json

from job.errors import DataError, Preempted
from job.process.termination import LIMIT, failed, succeeded


def test_success_tells_the_version_and_the_metrics():
    body = json.loads(succeeded({"outcome": "promoted", "version": 3, "metrics": {"accuracy": 1}}))
    assert body == {
        "schema_version": 1,
        "exit_code": 0,
        "outcome": "promoted",
        "version": 3,
        "metrics": {"accuracy": 1},
    }


def test_failure_tells_class_message_hint_and_details():
    error = Preempted("Stopped.", hint="Nothing to do.", details={"last_checkpoint": None})
    body = json.loads(failed(143, error))
    assert body["outcome"] == "failed"
    assert (body["error"], body["message"], body["hint"]) == (
        "Preempted",
        "Stopped.",
        "Nothing to do.",
    )
    assert body["last_checkpoint"] is None


def test_a_bug_is_named_as_one():
    assert json.loads(failed(1, None))["error"] == "Bug"


def test_the_longest_message_fits_and_stays_json():
    for character in ("x", "é", "\x00", "\U0001f600"):
        body = failed(65, DataError(character * 10_000, hint="Do this."))
        assert len(body) <= LIMIT
        assert json.loads(body)["hint"] == "Do this."

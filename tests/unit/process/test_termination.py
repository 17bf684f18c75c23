import json

from hypothesis import given
from hypothesis import strategies as st

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


TEXTS = st.text(max_size=30) | st.builds(
    lambda text, times: text * times, st.text(max_size=9), st.integers(0, 4000)
)
VALUES = st.recursive(
    TEXTS | st.integers(-(2**63), 2**63) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=9,
)
FIELDS = st.sampled_from(("reasons", "comparisons", "run_id", "version", "outcome", "metrics", "x"))
DETAILS = st.dictionaries(FIELDS | TEXTS, VALUES, max_size=9)


@given(TEXTS, TEXTS, DETAILS)
def test_a_failure_always_fits_and_says_what_failed(message, hint, details):
    body = failed(3, DataError(message, hint=hint, details=details))
    read = json.loads(body)
    assert len(body) <= LIMIT
    assert read["message"].removesuffix("…") in message
    assert read["hint"].removesuffix("…") in hint


@given(DETAILS)
def test_a_success_always_fits(outcome):
    body = succeeded(outcome)
    assert len(body) <= LIMIT
    assert isinstance(json.loads(body), dict)


def test_what_does_not_fit_goes_in_a_fixed_order():
    details = {
        "outcome": "rejected", "run_id": "r", "version": 3, "metrics": {"accuracy": 0.5},
        "reasons": ["Ж" * 150] * 5, "comparisons": ["c" * 2000],
    }  # fmt: skip
    read = json.loads(failed(3, DataError("m" * 900, hint="h" * 300, details=details)))
    assert "comparisons" not in read
    assert read["reasons"] == details["reasons"]
    details["reasons"] *= 3
    read = json.loads(succeeded(details))
    assert set(read) == {"schema_version", "exit_code", "outcome", "run_id", "version", "metrics"}


def test_a_strange_file_name_is_escaped():
    assert json.loads(failed(65, DataError("\udc80", hint="Do this.")))["message"] == "\udc80"

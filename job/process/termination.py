"""The termination message: how a run ended, as one small JSON object for `kubectl get pod`."""

import json
from collections.abc import Mapping

from job.errors import JobError

LIMIT = 4096
"""Bytes that the kubelet keeps of a container's termination message."""

LONG, SHORT = 1400, 300
"""Bytes of a text that does not fit: of the message, and of the hint and each other text."""

FIRST_DROPPED = ("comparisons", "reasons", "metrics")
"""What a message that does not fit loses, in this order; then all but what is kept."""

KEPT = ("schema_version", "outcome", "exit_code", "error", "message", "hint", "run_id", "version")


def succeeded(outcome: Mapping[str, object]) -> bytes:
    """Describes a run that ended well.

    Args:
        outcome: What it came to: outcome, version, metrics (JSON values).

    Returns:
        One JSON object in UTF-8, at most 4,096 bytes; see `_fitting`.
    """
    return _fitting({"schema_version": 1, "exit_code": 0, **outcome})


def failed(exit_code: int, error: JobError | None) -> bytes:
    """Describes a run that ended otherwise.

    Args:
        exit_code: The process's exit code.
        error: What ended the run; None for a bug.

    Returns:
        One JSON object in UTF-8, at most 4,096 bytes; see `_fitting`.
    """
    result: dict[str, object] = {"schema_version": 1, "outcome": "failed", "exit_code": exit_code}
    if error is None:
        result |= {"error": "Bug", "message": "This is a bug in mlp-job; see the log."}
    else:
        result |= {"error": type(error).__name__, **error.details}
        result |= {"message": error.message, "hint": error.hint}
    return _fitting(result)


def _fitting(result: Mapping[str, object]) -> bytes:
    """The object as JSON, without what does not fit.

    Its own texts are shortened first; then fields go, in a fixed order.
    """
    body = _encoded(result)
    if len(body) <= LIMIT:
        return body
    short = {
        name: _shortened(value, LONG if name == "message" else SHORT)
        for name, value in result.items()
    }
    for name in FIRST_DROPPED:
        if len(body := _encoded(short)) <= LIMIT:
            return body
        short.pop(name, None)
    if len(body := _encoded(short)) <= LIMIT:
        return body
    kept = {name: short[name] for name in KEPT if name in short}
    return _encoded({name: v for name, v in kept.items() if isinstance(v, str | int | None)})


def _shortened(value: object, limit: int) -> object:
    """A text of at most `limit` bytes as JSON; any other value as it is."""
    if not isinstance(value, str):
        return value
    size = 0
    for at, character in enumerate(value):
        size += len(_encoded(character)) - len('""')
        if size > limit:
            return value[:at] + "…"
    return value


def _encoded(value: object) -> bytes:
    """JSON in UTF-8; half a surrogate pair, as of a strange file name, is escaped."""
    return json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace")

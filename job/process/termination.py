"""The termination message: how a run ended, as one small JSON object for `kubectl get pod`."""

import json
from collections.abc import Mapping

from job.errors import JobError

LIMIT = 4096
"""Bytes that the kubelet keeps of a container's termination message."""


def succeeded(outcome: Mapping[str, object]) -> bytes:
    """Describes a run that ended well.

    Args:
        outcome: What it came to: outcome, version, metrics (JSON values).

    Returns:
        One JSON object in UTF-8.
    """
    return json.dumps({"schema_version": 1, "exit_code": 0, **outcome}).encode()


def failed(exit_code: int, error: JobError | None) -> bytes:
    """Describes a run that ended otherwise.

    Args:
        exit_code: The process's exit code.
        error: What ended the run; None for a bug.

    Returns:
        One JSON object in UTF-8, at most 4,096 bytes: a long message is cut.
    """
    result: dict[str, object] = {"schema_version": 1, "outcome": "failed", "exit_code": exit_code}
    if error is None:
        result |= {"error": "Bug", "message": "This is a bug in mlp-job; the log has it in full."}
    else:
        result |= {"error": type(error).__name__, **error.details}
        result |= {"message": error.message, "hint": error.hint}
    while len(body := json.dumps(result).encode()) > LIMIT:
        kept = str(result["message"])
        result["message"] = kept[: len(kept) * 3 // 4] + "…"
    return body

"""What needs the store after training, while it has a bad time: again and again, for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

from job import events
from job.errors import StoreError
from job.registry.championship import in_mid_run

Result = TypeVar("Result")

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds between two tries; the last one holds for all that follow. Each try has botocore's own
tries inside."""


def keep_trying(use: Callable[[], Result], *, seconds: float, run_id: str) -> Result:
    """Calls what is safe to repeat until it works.

    Args:
        use: Is called again when the store fails, or has come to refuse the credentials.
        seconds: No try begins later than this after the first.
        run_id: The run; for the hint.

    Raises:
        StoreError: The last try's.
    """
    deadline = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            with in_mid_run():
                return use()
        except StoreError as error:
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            if time.monotonic() + pause > deadline:
                raise StoreError(
                    error.message,
                    hint=f"{error.hint} The same command with --run-id {run_id} goes on from the "
                    "checkpoint in the details: what is trained is published, not trained again.",
                ) from error
            events.store_failed(error, pause=pause)
            time.sleep(pause)
            tries += 1

"""What needs a store, while that has a bad time: again and again, for a while."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from job import events
from job.errors import DataError, StoreError
from job.process import shutdown
from job.registry.championship import in_mid_run
from job.storage import Store

Result = TypeVar("Result")

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds between two tries, at most; the last one holds for all that follow. Inside each try, the
requests to S3 have tries of their own."""


def keep_trying(use: Callable[[], Result], *, seconds: float) -> Result:
    """Calls what is safe to repeat until it works.

    Args:
        use: Is called again when it fails with a StoreError.
        seconds: The time for all tries; what fails after it is not tried again.

    Raises:
        StoreError: The last try's.
    """
    deadline = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            return use()
        except StoreError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            pause = min(left, PAUSES[min(tries, len(PAUSES) - 1)])
            events.store_failed(error, pause=pause)
            time.sleep(pause)
            tries += 1


def keep_using(use: Callable[[], Result], store: Store, *, seconds: float) -> Result:
    """As `keep_trying`, for a store that has let the run in before.

    Args:
        use: Is called again also when the store has come to refuse the credentials.
        store: What it uses; its requests keep to the same time.
        seconds: As there.

    Raises:
        StoreError: The last try's.
    """
    with store.within(seconds):
        return keep_trying(in_mid_run()(use), seconds=seconds)


@contextlib.contextmanager
def resumable(run_id: str) -> Iterator[None]:
    """When a disk or a store ends a run that has a checkpoint, tells how to go on."""
    try:
        yield
    except (DataError, StoreError) as error:
        if shutdown.noted().get("checkpoint"):
            error.hint = (
                f"{error.hint} The same command with --run-id {run_id} goes on from the checkpoint "
                "in the details: what is trained is published, not trained again."
            )
        raise

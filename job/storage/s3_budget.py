"""A budget of time for requests that fail, kept by botocore's events."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from job.process import activity
from job.storage.s3_errors import is_final

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_SECONDS = 30.0
"""Seconds without a byte after which an answer is given up."""
LAST_SECONDS = 5.0
"""The same where little time is left, or none."""
BYTES_PER_SECOND = 20e6
"""A server that has received an object may take so long before it answers: it hashes and stores."""
PART_BYTES = 8 * 2**20
"""What is larger is sent in parts of so many bytes; as boto3 does with files."""
ATTEMPTS = 8
"""Tries of a request; AWS_MAX_ATTEMPTS overrides."""
FAILING_SECONDS = 60.0
"""Outside `Budget.within`: while nothing but failures comes, requests are tried again so long."""
BUSY_SECONDS = 1.0
"""botocore's pause between two tries is at most this, doubled by each, when the server has
answered (`botocore.retries.standard.ExponentialBackoff`),"""
LOST_SECONDS = 0.05
"""or this, when there was no answer."""


class Budget:
    """Until when the failing requests of a client are tried again.

    What gets its answers is never cut short, however long it takes.
    """

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._failing_since: float | None = None
        self.spent = False
        """True when a request has failed after the time was over: no other one is begun."""

    def attach(self, client: "S3Client") -> None:
        """Watches over all requests of a client."""
        client.meta.events.register_first("needs-retry.s3", self._judge)
        client.meta.events.register("request-created.s3", self._limit)

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """As `Store.within`."""
        before = self._deadline
        self._deadline, self.spent = time.monotonic() + seconds, False
        try:
            yield
        finally:
            self._deadline, self.spent = before, False

    def _limit(self, request: Any, operation_name: str, **_: object) -> None:
        """Before each try: what is left is shared among the tries that a request may have."""
        from botocore.exceptions import HTTPClientError

        activity.begin()
        seconds = READ_SECONDS
        if self._deadline is not None:
            if self.spent:
                raise HTTPClientError(error="no time is left after the failures before")
            left = self._deadline - time.monotonic()
            seconds = min(READ_SECONDS, max(LAST_SECONDS, left / ATTEMPTS))
        size = _size(request.body, operation_name)
        request.context["read_timeout"] = seconds + size / BYTES_PER_SECOND

    def _judge(
        self, response: Any, attempts: int, caught_exception: Exception | None = None, **_: object
    ) -> bool | None:
        """After each try: False forbids another one, None leaves it to botocore."""
        if caught_exception is not None and is_final(caught_exception):
            return False
        answered = response is not None
        failed = not answered or response[0].status_code >= 500
        now = time.monotonic()
        self._failing_since = (self._failing_since or now) if failed else None
        if self._failing_since is None:
            return None
        if self._deadline is None:
            return False if now - self._failing_since >= FAILING_SECONDS else None
        pause = (BUSY_SECONDS if answered else LOST_SECONDS) * 2 ** (attempts - 1)
        if now >= self._deadline:
            self.spent = True
        return False if now + pause >= self._deadline else None


def _size(body: Any, operation: str) -> int:
    """Bytes that the server works through before it answers."""
    from botocore.utils import determine_content_length

    if operation == "CompleteMultipartUpload":
        return int(body.count(b"<PartNumber>")) * PART_BYTES
    return determine_content_length(body) or 0

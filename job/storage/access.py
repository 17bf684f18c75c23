"""Access to buckets beyond the SDK's settings: upload headers, requester pays, unsigned reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from job.errors import UsageError

HEADER_PREFIX = "x-amz-"


@dataclass(frozen=True, kw_only=True)
class Access:
    """What every request to a bucket carries besides the SDK's own settings.

    Attributes:
        upload_headers: Lower-case name → value; sent whenever an object is created.
        requester_pays: Whether requests accept the charges of a bucket whose requester pays.
        unsigned: Buckets that are read without credentials.
    """

    upload_headers: dict[str, str] = field(default_factory=dict)
    requester_pays: bool = False
    unsigned: frozenset[str] = frozenset()


def parsed_headers(given: Sequence[str]) -> dict[str, str]:
    """`x-amz-name=value` each; a name that is no S3 header, or no value, is a UsageError."""
    headers = {}
    for each in given:
        name, separator, value = each.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not (separator and value.isprintable() and value and name.startswith(HEADER_PREFIX)):
            raise UsageError(
                f"--upload-header: expected x-amz-NAME=VALUE. Received: {each!r}.",
                hint="As in x-amz-acl=bucket-owner-full-control or "
                "x-amz-server-side-encryption=aws:kms.",
            )
        headers[name] = value
    return headers

"""Access to buckets beyond the SDK's settings: upload headers, requester pays, unsigned reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from job.storage.uri import bucket_of, plain


@dataclass(frozen=True, kw_only=True)
class Access:
    """What every request to a bucket carries besides the SDK's own settings.

    Attributes:
        upload_headers: Lower-case name → value; sent whenever an object is created.
        requester_pays: Whether requests accept the charges of a bucket whose requester pays.
        unsigned: Buckets that are read without credentials.
    """

    upload_headers: Mapping[str, str] = field(default_factory=dict)
    requester_pays: bool = False
    unsigned: frozenset[str] = frozenset()

    @classmethod
    def of(cls, data: Any = None, publishing: Any = None) -> "Access":
        """From the groups of a Config, or anything with attributes of these names."""
        unsigned = set()
        if data and data.unsigned_data:
            named = map(plain, map(str.strip, f"{data.data},{data.test_data or ''}".split(",")))
            unsigned = {bucket_of(uri)[0] for uri in named if uri.startswith("s3://")}
        headers = {}
        if publishing:
            unsigned -= {bucket_of(publishing.store)[0]}  # publishing needs credentials
            pairs = (each.partition("=") for each in publishing.upload_header)
            headers = {name.lower(): value for name, _, value in pairs}
        return cls(
            upload_headers=headers,
            requester_pays=bool(data and data.requester_pays),
            unsigned=frozenset(unsigned),
        )

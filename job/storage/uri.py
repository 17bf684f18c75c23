"""s3:// URIs: the bucket or access point, and the rest."""

import re

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
ACCESS_POINT = re.compile(
    r"(arn:aws[a-z-]*:s3(?:-outposts)?:[a-z0-9-]*:\d{12}:(?:outpost[/:][\w-]+[/:])?"
    r"accesspoint[/:][\w.-]+)(?:/(.*))?"
)


def plain(uri: str) -> str:
    """A URI with the scheme s3, as which Hadoop's s3a and s3n are meant; a path stays as it is."""
    return re.sub(r"^s3[an]://", "s3://", uri)


def bucket_of(uri: str) -> tuple[str, str]:
    """Bucket or access point's ARN, and the rest; "" for a bucket that can be none."""
    rest = plain(uri).removeprefix("s3://")
    if found := ACCESS_POINT.fullmatch(rest):
        return found[1], found[2] or ""
    bucket, _, prefix = rest.partition("/")
    return (bucket if BUCKET.fullmatch(bucket) else ""), prefix

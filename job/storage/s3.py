"""S3Store: a prefix of a bucket, through boto3."""

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from job.errors import AccessDenied, DataNotFound, JobError, StoreError, UsageError
from job.storage.s3_budget import ATTEMPTS, READ_SECONDS, Budget
from job.storage.s3_errors import code, status, translated
from job.storage.store import Conflict, Entry, as_prefix, checked

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 5
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between the tries of what botocore itself does not try again."""


class S3Store:
    """Objects of an S3-compatible store; the ETag is the server's.

    Conditional writes are S3's (PutObject, If-Match and If-None-Match): 412 is a lost race,
    409 asks for another try, and 404, or 412 on some servers, means that the object to match
    is gone.

    Args:
        bucket: The bucket; it must exist when the store is used.
        prefix: What all keys begin with, without slashes at its ends; may be empty.

    Raises:
        AccessDenied: There is no such AWS profile.
        UsageError: The AWS SDK does not understand one of its settings.
    """

    def __init__(self, bucket: str, prefix: str):
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = as_prefix(prefix)
        self._client = _client(self.uri)
        self._budget = Budget()
        self._budget.attach(self._client)

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return self._budget.within(seconds)

    def read(self, key: str) -> tuple[bytes, str]:
        from botocore.exceptions import (
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        broken_body = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
        with self._reading(key):
            for pause in PAUSES:
                try:
                    return self._read(key)
                except broken_body:
                    if self._budget.spent:
                        raise
                    time.sleep(pause)
            return self._read(key)

    def _read(self, key: str) -> tuple[bytes, str]:
        response = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
        return response["Body"].read(), response["ETag"]

    def write(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        from botocore.exceptions import ClientError

        conditions: dict[str, Any] = {}
        if if_match is not None:
            conditions["IfMatch"] = if_match
        if if_none_match:
            conditions["IfNoneMatch"] = "*"
        with translated("write", f"{self.uri}/{key}"):
            for pause in (*PAUSES, None):
                try:
                    return self._put(key, data, conditions)
                except ClientError as exc:
                    if pause is not None and status(exc) == 409:
                        time.sleep(pause)
                    elif conditions and (status(exc) == 412 or code(exc) == "NoSuchKey"):
                        lost = exc
                        break
                    else:
                        raise
        with contextlib.suppress(DataNotFound):
            body, etag = self.read(key)
            if body == data:
                return etag
        raise Conflict(f"{self.uri}/{key} is not what it was.") from lost

    def _put(self, key: str, data: bytes, conditions: dict[str, Any]) -> str:
        if self._client.meta.config.request_checksum_calculation != "when_required":
            digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
            conditions = {**conditions, "ChecksumSHA256": digest}
        return self._client.put_object(
            Bucket=self._bucket, Key=self._key(key), Body=data, **conditions
        )["ETag"]

    def upload(self, path: Path, key: str) -> None:
        with translated("write", f"{self.uri}/{key}"):
            self._client.upload_file(str(path), self._bucket, self._key(key))

    def download(self, key: str, path: Path) -> None:
        with self._reading(key):
            self._client.download_file(self._bucket, self._key(key), str(path))

    def entry(self, key: str) -> Entry:
        with self._reading(key):
            head = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
        return Entry(key=key, size=head["ContentLength"], etag=head["ETag"])

    def list(self, folder: str) -> Iterator[Entry]:
        pages = self._client.get_paginator("list_objects_v2")
        prefix = self._prefix + as_prefix(folder)
        with translated("list", f"{self.uri}/{folder}"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self._prefix)
                    yield Entry(key=key, size=item["Size"], etag=item["ETag"])

    def folders(self, folder: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2")
        prefix = self._prefix + as_prefix(folder)
        with translated("list", f"{self.uri}/{folder}"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                for item in page.get("CommonPrefixes", []):
                    yield item["Prefix"].removeprefix(prefix).rstrip("/")

    def delete(self, key: str) -> None:
        with translated("delete", f"{self.uri}/{key}"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def _key(self, key: str) -> str:
        return self._prefix + checked(key)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Tells a missing key from a forbidden one.

        S3 answers 403 for a missing key unless s3:ListBucket is granted without conditions;
        a listing of the one key is granted under a condition on the prefix, too.
        """
        try:
            with translated("read", f"{self.uri}/{key}"):
                yield
        except AccessDenied as exc:
            if self._absent(key):
                raise DataNotFound(
                    f"Expected to read {self.uri}/{key}. Received: no such key.",
                    hint="Check the bucket and the key.",
                ) from exc
            raise

    def _absent(self, key: str) -> bool:
        try:
            with translated("list", self.uri):
                page = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._key(key), MaxKeys=1
                )
        except JobError:
            return False
        return all(item["Key"] != self._key(key) for item in page.get("Contents", []))


def _client(uri: str) -> "S3Client":
    """A client with this job's time-outs and the user's AWS settings."""
    import boto3
    import botocore.session
    from botocore.config import Config

    try:
        with translated("use the AWS settings for", uri):
            session = botocore.session.Session()
            config = Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                retries={
                    "mode": session.get_config_variable("retry_mode"),
                    "total_max_attempts": session.get_config_variable("max_attempts") or ATTEMPTS,
                },
            )
            boto = boto3.session.Session(botocore_session=session)
            client: S3Client = boto.client("s3", config=config)
            host = urlsplit(client.meta.endpoint_url).hostname or ""
            amazon = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
            if not amazon and "addressing_style" not in (client.meta.config.s3 or {}):
                # Few other servers answer to BUCKET.HOST.
                path_style = Config(s3={"addressing_style": "path"})
                client = boto.client("s3", config=config.merge(path_style))
            return client
    except (StoreError, ValueError) as exc:
        raise UsageError(
            f"Expected AWS settings that the AWS SDK can use. Received: {exc}",
            hint="Check the AWS_* variables and the AWS configuration file.",
        ) from exc

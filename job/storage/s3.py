"""S3Store: a prefix of a bucket, through boto3."""

import base64
import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from job.errors import AccessDenied, DataNotFound, JobError, StoreError, UsageError
from job.storage.access import Access
from job.storage.content_type import content_type
from job.storage.s3_answers import expect_s3
from job.storage.s3_budget import ATTEMPTS, PART_BYTES, READ_SECONDS, Budget
from job.storage.s3_errors import code, status, translated
from job.storage.store import Conflict, Entry, Rejected, as_prefix, checked, replaced

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 5
CONNECTIONS = 200
"""Kept open, at most: 16 downloads at a time (`data.files.staging`), each in ten parts."""
PARTS = 8
"""Parts of one object that are sent at a time."""
SHA256 = "sha256"
"""Name of the metadata by which a large object is recognised without reading it."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between the tries of what botocore itself does not try again."""


class S3Store:
    """Objects of an S3-compatible store; the ETag is the server's.

    Conditional writes are S3's (PutObject, If-Match and If-None-Match): 412 is a lost race,
    409 asks for another try, and 404, or 412 on some servers, means that the object to match
    is gone. Servers differ in two things, and the first writes of `probe` find out: some take
    an ETag without quotes only, and some ignore the conditions of a multipart upload, so that
    large conditional writes go there in one request.

    Args:
        bucket: The bucket, or the ARN of an access point; it must exist when the store is used.
        prefix: What all keys begin with, without slashes at its ends; may be empty.
        access: What requests carry besides the SDK's settings.
        like: A store whose client and time budget are shared, if it signs its requests alike.

    Raises:
        AccessDenied: There is no such AWS profile.
        UsageError: The AWS SDK does not understand one of its settings.
    """

    def __init__(self, bucket: str, prefix: str, access: Access, like: "S3Store | None" = None):
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._bucket = bucket
        self._prefix = as_prefix(prefix)
        self._unsigned = bucket in access.unsigned
        shared = like if like and like._unsigned == self._unsigned else None
        self._client: S3Client = (
            shared._client if shared else _client(self.uri, access, unsigned=self._unsigned)
        )
        self._budget: Budget = shared._budget if shared else Budget()
        if not shared:
            self._budget.attach(self._client)
        self._quoted = True
        self._multipart, self._completes_if = True, frozenset[str]()

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        return self._budget.within(seconds)

    def read(self, key: str) -> tuple[bytes, str]:
        return self._body(key)

    def read_range(self, entry: Entry, start: int, stop: int) -> bytes:
        from botocore.exceptions import ClientError

        try:
            body, etag = self._body(entry.key, Range=f"bytes={start}-{stop - 1}")
        except Rejected as exc:
            if isinstance(exc.__cause__, ClientError) and status(exc.__cause__) == 416:
                raise replaced(self.uri, entry) from exc  # it is shorter now
            raise
        if etag != entry.etag or len(body) != stop - start:
            raise replaced(self.uri, entry)
        return body

    def _body(self, key: str, **which: str) -> tuple[bytes, str]:
        """What is there, or a range of it, and the ETag; a body that breaks off is read again."""
        from botocore.exceptions import (
            IncompleteReadError,
            ReadTimeoutError,
            ResponseStreamingError,
        )

        broken_body = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)

        def once() -> tuple[bytes, str]:
            place = {"Bucket": self._bucket, "Key": self._key(key)}
            response = self._client.get_object(**place, **which)  # type: ignore[arg-type]
            return response["Body"].read(), response["ETag"]

        with self._reading(key):
            for pause in PAUSES:
                try:
                    return once()
                except broken_body:
                    if self._budget.spent:
                        raise
                    time.sleep(pause)
            return once()

    def write(
        self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False
    ) -> str:
        from botocore.exceptions import ClientError

        conditional = if_match is not None or if_none_match
        sha256 = hashlib.sha256(data).digest()
        for _ in range(2):
            with translated("write", f"{self.uri}/{key}"):
                try:
                    return self._send(key, data, sha256, self._conditions(if_match, if_none_match))
                except ClientError as exc:
                    if not (conditional and (status(exc) == 412 or code(exc) == "NoSuchKey")):
                        raise
                    lost = exc
            etag, is_mine = self._found(key, data, sha256)
            if is_mine:
                return etag
            if if_match is None or etag != if_match:
                break
            self._quoted = not self._quoted  # the condition holds: it was not understood
        raise Conflict(f"{self.uri}/{key} is not what it was.") from lost

    @property
    def _checksums(self) -> bool:
        return bool(self._client.meta.config.request_checksum_calculation != "when_required")

    def _conditions(self, if_match: str | None, if_none_match: bool) -> dict[str, Any]:
        conditions = {}
        if if_match is not None:
            bare = if_match.strip('"')
            conditions["IfMatch"] = f'"{bare}"' if self._quoted else bare
        if if_none_match:
            conditions["IfNoneMatch"] = "*"
        return conditions

    def _send(self, key: str, data: bytes, sha256: bytes, conditions: Mapping[str, Any]) -> str:
        """Writes in one request, or in parts; a 409 asks for another try."""
        from botocore.exceptions import ClientError

        in_parts = (
            len(data) > PART_BYTES and self._multipart and self._completes_if >= set(conditions)
        )
        for pause in (*PAUSES, None):
            try:
                if in_parts:
                    return self._put_parts(key, data, sha256, conditions)
                return self._put(key, data, sha256, conditions)
            except ClientError as exc:
                if pause is None or status(exc) != 409:
                    raise
                time.sleep(pause)
        raise AssertionError  # the last try returns or raises

    def _put(self, key: str, data: bytes, sha256: bytes, conditions: Mapping[str, Any]) -> str:
        more: dict[str, Any] = dict(conditions)
        if self._checksums:
            more["ChecksumSHA256"] = base64.b64encode(sha256).decode()
        if len(data) > PART_BYTES:
            more["Metadata"] = {SHA256: sha256.hex()}
        return self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(key),
            Body=data,
            ContentType=content_type(key),
            **more,
        )["ETag"]

    def _put_parts(
        self, key: str, data: bytes, sha256: bytes, conditions: Mapping[str, Any]
    ) -> str:
        """Writes as a multipart upload, whose last request makes it visible as a whole."""
        from botocore.exceptions import BotoCoreError, ClientError

        place = self._begin(key, {SHA256: sha256.hex()})

        def part(start: int) -> Any:
            body = data[start : start + PART_BYTES]
            return self._put_part(place, start // PART_BYTES + 1, body)

        pool = ThreadPoolExecutor(PARTS)
        try:
            parts = list(pool.map(part, range(0, len(data), PART_BYTES)))
            made = self._client.complete_multipart_upload(
                **place, MultipartUpload={"Parts": parts}, **conditions
            )
        except (BotoCoreError, ClientError):
            # The answer may be lost and the upload complete: whoever asks again learns that there
            # is no such upload, or that the condition does not hold any more.
            with contextlib.suppress(JobError):
                etag, is_mine = self._found(key, data, sha256)
                if is_mine:
                    return etag
            with contextlib.suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(**place)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # SIGTERM does not wait for a store
        return made.get("ETag") or self.entry(key).etag  # Ceph RGW sends none

    def _begin(self, key: str, metadata: Mapping[str, str]) -> Any:
        """Begins a multipart upload; returns what names it in later requests."""
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        more: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if self._checksums else {}
        begun = self._client.create_multipart_upload(
            **place, **more, ContentType=content_type(key), Metadata=metadata
        )
        return {**place, "UploadId": begun["UploadId"]}

    def _put_part(self, place: Any, number: int, body: bytes) -> Any:
        """Sends one part; returns what completes it."""
        sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
        more: dict[str, Any] = {"ChecksumSHA256": sha256} if self._checksums else {}
        sent = self._client.upload_part(**place, PartNumber=number, Body=body, **more)
        return {"PartNumber": number, "ETag": sent["ETag"], **more}

    def _found(self, key: str, data: bytes, sha256: bytes) -> tuple[str, bool]:
        """The ETag of what is there, "" when nothing is, and whether it is what was sent."""
        try:
            if len(data) > PART_BYTES:
                with self._reading(key):
                    head = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
                return head["ETag"], head["Metadata"].get(SHA256) == sha256.hex()
            body, etag = self.read(key)
        except DataNotFound:
            return "", False
        return etag, body == data

    def learn(self, key: str) -> None:
        from botocore.exceptions import ClientError

        never = f'"{"0" * 32}"'
        conditions = (self._conditions(never, False), self._conditions(None, True))
        honoured: set[str] = set()
        with translated("write", f"{self.uri}/{key}"):
            place = None
            for condition in conditions:
                try:
                    if place is None:
                        place = self._begin(key, {})
                        parts = [self._put_part(place, 1, b"x")]
                except (ClientError, Rejected) as exc:
                    if status(exc) >= 500 and code(exc) != "NotImplemented":
                        raise
                    self._multipart = False
                    return
                try:
                    self._client.complete_multipart_upload(
                        **place, MultipartUpload={"Parts": parts}, **condition
                    )
                    place = None
                except ClientError as exc:
                    if status(exc) == 412:
                        honoured.update(condition)
            self._completes_if = frozenset(honoured)
            if place is not None:
                with contextlib.suppress(ClientError):  # a lifecycle rule removes it
                    self._client.abort_multipart_upload(**place)

    def upload(self, path: Path, key: str) -> None:
        with translated("write", f"{self.uri}/{key}"):
            self._client.upload_file(
                str(path),
                self._bucket,
                self._key(key),
                ExtraArgs={"ContentType": content_type(key)},
            )

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

    def delete(self, key: str) -> bool:
        with translated("delete", f"{self.uri}/{key}"):
            deleted = self._client.delete_object(Bucket=self._bucket, Key=self._key(key))
        return bool(deleted.get("DeleteMarker"))

    def expect_deletable(self, folder: str) -> None:
        self.delete(f"{as_prefix(folder)}.probe")  # S3 asks for the permission, not for the object

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


def _client(uri: str, access: Access, *, unsigned: bool) -> "S3Client":
    """A client with this job's time-outs and the user's AWS settings."""
    import boto3
    import botocore
    import botocore.session
    from botocore.config import Config

    try:
        with translated("use the AWS settings for", uri):
            session = botocore.session.Session()
            if os.environ.get("AWS_REGION") and not os.environ.get("AWS_DEFAULT_REGION"):
                session.set_config_variable("region", os.environ["AWS_REGION"])
            config = Config(
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=CONNECTIONS,
                retries={
                    "mode": session.get_config_variable("retry_mode"),
                    "total_max_attempts": session.get_config_variable("max_attempts") or ATTEMPTS,
                },
            )
            if unsigned:
                config = config.merge(Config(signature_version=botocore.UNSIGNED))
            boto = boto3.session.Session(botocore_session=session)
            client: S3Client = boto.client("s3", config=config)
            host = urlsplit(client.meta.endpoint_url).hostname or ""
            amazon = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
            if not amazon and "addressing_style" not in (client.meta.config.s3 or {}):
                # Few other servers answer to BUCKET.HOST.
                path_style = Config(s3={"addressing_style": "path"})
                client = boto.client("s3", config=config.merge(path_style))
    except (StoreError, Rejected, ValueError) as exc:
        raise UsageError(
            f"Expected AWS settings that the AWS SDK can use. Received: {exc.__cause__ or exc}",
            hint="Check the AWS_* variables (AWS_ENDPOINT_URL_S3 begins with http:// or https://) "
            "and the AWS configuration file.",
        ) from exc
    _attach(client, access)
    return client


def _attach(client: "S3Client", access: Access) -> None:
    """Adds headers to requests, and rejects answers that are not S3's."""

    def look(operation_model: Any, response_dict: Any, **_: object) -> None:
        expect_s3(operation_model.name, response_dict, client.meta.endpoint_url)

    def add_upload_headers(params: Any, **_: object) -> None:
        params["headers"].update(access.upload_headers)

    def accept_charges(params: Any, **_: object) -> None:
        params["headers"]["x-amz-request-payer"] = "requester"

    events = client.meta.events
    # The wildest card is asked first: before botocore's own handler, which makes a page a 500.
    events.register("before-parse.*.*", look)
    for operation in ("PutObject", "CreateMultipartUpload"):
        events.register(f"before-call.s3.{operation}", add_upload_headers)
    if access.requester_pays:
        events.register("before-call.s3", accept_charges)

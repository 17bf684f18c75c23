"""Answers that do not come from S3: a console's page, a redirect, an ingress; rejected in words."""

from collections.abc import Mapping
from typing import Any

from job.storage.store import Rejected

SHOWN = 120
"""Characters of a strange answer that a message quotes."""
HAVE_ETAG = {"PutObject", "GetObject", "HeadObject", "UploadPart"}
"""Operations whose success carries an ETag, on every server that speaks S3."""
HAVE_XML = {"ListObjectsV2": b"ListBucketResult", "CreateMultipartUpload": b"UploadId"}
"""Operations whose success has a body, and what S3's contains."""


def expect_s3(operation: str, answer: Mapping[str, Any], endpoint: str) -> None:
    """Rejects an answer that no S3 server gives; failures of a proxy (5xx) pass, for a retry.

    Args:
        operation: botocore's name of the operation, as in PutObject.
        answer: botocore's response_dict: status_code, headers, and body (bytes or a stream).
        endpoint: The URL that was asked.

    Raises:
        Rejected: With what was received and the likely remedy.
    """
    status, headers, body = answer["status_code"], answer["headers"], answer["body"]
    text = body if isinstance(body, bytes) else b""
    if status >= 500 or not _is_strange(operation, status, headers, text):
        return
    kind = headers.get("content-type", "")
    shown = " ".join(text.decode(errors="replace").split())[:SHOWN]
    location = headers.get("location", "")
    received = f"{status}" + "".join(f", {part}" for part in (kind, shown) if part)
    raise Rejected(
        f"Expected an answer of S3 from {endpoint}. Received: {received}"
        + (f", a redirect to {location}" if location else "")
        + ". This does not look like S3.",
        hint=_remedy(status, text, location, endpoint),
    )


def _is_strange(operation: str, status: int, headers: Mapping[str, str], text: bytes) -> bool:
    if b"<Error" in text:
        return False
    if status < 300:
        wanted = HAVE_XML.get(operation)
        no_etag = operation in HAVE_ETAG and not headers.get("etag")
        has_words = operation == "DeleteObject" and bool(text.strip())
        return no_etag or has_words or (wanted is not None and wanted not in text)
    if status < 400:
        return status != 304 and "x-amz-bucket-region" not in headers
    # A HEAD request's answer has no body, and so only this length: moto sends an empty page.
    is_page = headers.get("content-type", "").startswith("text/html")
    is_page &= headers.get("content-length") != "0"
    return is_page or (bool(text.strip()) and b"<Code>" not in text)


def _remedy(status: int, text: bytes, location: str, endpoint: str) -> str:
    if location.startswith("https://") and endpoint.startswith("http://"):
        return "The server wants TLS: start AWS_ENDPOINT_URL_S3 with https://."
    if b"HTTPS server" in text or b"HTTPS port" in text:
        return "The server wants TLS: start AWS_ENDPOINT_URL_S3 with https://."
    if location:
        return "Set AWS_ENDPOINT_URL_S3 to the S3 server itself, not to what redirects to it."
    if 300 <= status < 400:
        return "Set AWS_REGION and AWS_ENDPOINT_URL_S3 to those of the bucket."
    if status == 413:
        return "A proxy limits the size of requests: raise its limit (nginx: client_max_body_size)."
    return (
        "Set AWS_ENDPOINT_URL_S3 to the server's S3 port, not to its console or to a web page "
        "(MinIO: 9000, not 9001), and check the ingress and the proxy in between."
    )

"""What an endpoint may answer: not S3 at all, or an error of S3 that no retry mends."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import SSLError

from job.errors import AccessDenied, DataNotFound, JobError, StoreError, UsageError
from job.storage import Rejected, open_store, s3_budget
from job.storage.probe import probe
from job.storage.s3_errors import is_final

MULTI_REGION = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
PAGE = b"<!doctype html><html><head><title>Console</title></head><body>Hello<br></body></html>"


@dataclass
class Answer:
    """The only answer of a server, and how often it was given."""

    status: int
    kind: str = "application/xml"
    body: bytes = b""
    location: str = ""
    given: int = 0


def error_of(code: str, message: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code>{message}</Error>".encode()


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer.given += 1
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            if answer.location:
                self.send_header("Location", answer.location)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch):
    """What the start-up check raises on a server that always gives one answer."""

    def check(answer: Answer) -> JobError:
        with answering(answer) as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
            monkeypatch.setenv("AWS_REGION", "us-east-1")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
            with pytest.raises(JobError) as error:
                probe(open_store("s3://bucket/x"), "m/.probe")
        assert not error.value.message.rstrip(".").endswith(("None", ":"))
        return error.value

    return check


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Answer(200, "text/html", PAGE), "console"),
        (Answer(200, "application/json", b'{"status": "ok"}'), "S3 port"),
        (Answer(200, "text/plain", b""), "S3 port"),
        (Answer(404, "text/html; charset=utf-8", PAGE), "ingress"),
        (Answer(404, "text/plain", b"default backend - 404"), "ingress"),
        (Answer(400, "text/plain", b"Client sent an HTTP request to an HTTPS server."), "https://"),
        (Answer(308, "text/html", b"", "https://bucket.example/"), "https://"),
        (Answer(301, "text/html", PAGE, "https://bucket.example/"), "https://"),
        (Answer(302, "text/html", b"", "http://login.example/"), "redirects"),
        (Answer(301, body=error_of("PermanentRedirect", "")), "AWS_REGION"),
        (Answer(413, "text/html", PAGE), "client_max_body_size"),
        (Answer(403, "text/html", PAGE), "proxy"),
    ],
)
def test_what_is_not_s3(answer: Answer, hint: str, caught) -> None:
    error = caught(answer)
    assert isinstance(error, Rejected)
    assert error.exit_code == 77
    assert "This does not look like S3" in error.message
    assert f"Received: {answer.status}" in error.message
    assert hint in error.hint
    assert answer.given <= 2  # no retries; the probe cleans up


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, "text/html", PAGE), Rejected),
        (Answer(200, "application/xml", error_of("InternalError", "")), StoreError),
        (Answer(204, "text/html", b""), None),
    ],
)
def test_answers_to_a_delete(
    answer: Answer, kind: type[JobError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(answer) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        with pytest.raises(kind) if kind else contextlib.nullcontext():
            open_store("s3://bucket/x").delete("a")


@pytest.mark.parametrize(("page", "kind"), [(PAGE, Rejected), (b"", AccessDenied)])
def test_a_page_is_known_without_its_body(
    page: bytes, kind: type[JobError], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(Answer(403, "text/html", page)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(JobError) as error:
            open_store("s3://bucket/x").entry("a")  # asks by HEAD
        assert type(error.value) is kind


def test_a_page_of_a_proxy_whose_server_is_down_is_tried_again(caught) -> None:
    answer = Answer(503, "text/html", PAGE)
    assert isinstance(caught(answer), StoreError)
    assert answer.given == 3


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "hint"),
    [
        (400, "InvalidRequest", "Unsupported header x-amz-checksum-crc32", Rejected, "_CHECKSUM_"),
        (400, "InvalidArgument", "x-amz-sdk-checksum-algorithm is unknown", Rejected, "_CHECKSUM_"),
        (501, "NotImplemented", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", Rejected, "_CHECKSUM_"),
        (400, "XAmzContentSHA256Mismatch", "The provided hash differs", Rejected, "_CHECKSUM_"),
        (411, "MissingContentLength", "", Rejected, "_CHECKSUM_"),
        (403, "QuotaExceeded", "", Rejected, "quota"),
        (400, "KMS.NotFoundException", "Invalid keyId", Rejected, "--upload-header"),
        (400, "AccessControlListNotSupported", "", AccessDenied, "x-amz-acl"),
        (400, "AuthorizationHeaderMalformed", "expecting 'eu-1'", AccessDenied, "AWS_REGION"),
        (403, "RequestTimeTooSkewed", "", AccessDenied, "clock"),
        (403, "SignatureDoesNotMatch", "", AccessDenied, "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "", AccessDenied, "policy"),
        (403, "AccessDenied", "not authorized: kms:Decrypt", AccessDenied, "may use the key"),
        (403, "AccessDenied", "storage cap exceeded", AccessDenied, "quota"),
        (403, "AccessDenied", 'on "arn:aws:s3:::kms-quota"', AccessDenied, "policy"),
        (
            403,
            "AccessDenied",
            "Not authorized: sts:AssumeRoleWithWebIdentity",
            AccessDenied,
            "ROLE",
        ),
        (403, "InvalidAccessKeyId", "", AccessDenied, "AWS_PROFILE"),
        (403, "InvalidObjectState", "", AccessDenied, "restore"),
        (403, "UserSuspended", "", AccessDenied, "account"),
        (507, "XMinioStorageFull", "", StoreError, "Free some space"),
        (400, "InvalidStorageClass", "", Rejected, "AWS_ENDPOINT_URL_S3"),
        (404, "NoSuchBucket", "", AccessDenied, "Create the bucket"),
        (400, "RequestTimeout", "", StoreError, "run the same command again"),
        (429, "TooManyRequests", "", StoreError, "run the same command again"),
        (503, "SlowDown", "", StoreError, "run the same command again"),
    ],
)
def test_errors_of_s3(status: int, code: str, message: str, kind: type, hint: str, caught) -> None:
    text = f"<Message>{message}</Message>" if message else ""
    answer = Answer(status, body=error_of(code, text))
    error = caught(answer)
    assert type(error) is kind
    assert code in error.message
    assert hint in error.hint
    if kind is not StoreError:
        assert answer.given <= 2


def test_a_missing_key_is_missing(monkeypatch: pytest.MonkeyPatch, caught) -> None:
    with answering(Answer(404, body=error_of("NoSuchKey", ""))) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        with pytest.raises(DataNotFound):
            open_store("s3://bucket/x").read("a")


def test_a_server_that_speaks_plain_http(monkeypatch: pytest.MonkeyPatch, caught) -> None:
    answer = Answer(200)
    with answering(answer) as endpoint:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint.replace("http:", "https:"))
        with pytest.raises(Rejected) as error:
            open_store("s3://bucket/x").read("a")
    assert "plain HTTP" in error.value.hint


@pytest.mark.parametrize("page", [PAGE, b"<html><body>Console</body></html>"])
def test_an_sts_that_is_none(page: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS_ENDPOINT_URL sends STS to the store's server, whose console answers."""
    token = tmp_path / "token"
    token.write_text("a token")
    with answering(Answer(200, "text/html", page)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        with pytest.raises(AccessDenied) as error:
            open_store("s3://bucket/x").read("a")
    assert "not STS's" in error.value.message
    assert "AWS_ENDPOINT_URL_S3" in error.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"])
@pytest.mark.parametrize("path", ["/nowhere/at/all", "/"])
def test_a_file_of_the_settings_that_cannot_be_read(
    variable: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, path)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    if variable == "AWS_CA_BUNDLE":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    else:
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    with pytest.raises(AccessDenied) as error:
        open_store("s3://bucket/x").read("a")
    assert f"{variable} names {path}" in error.value.message
    assert variable in error.value.hint


@pytest.mark.parametrize(
    ("uri", "settings", "kind", "words"),
    [
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "a\n"}, AccessDenied, "line breaks"),
        ("s3://bucket/x", {"AWS_ENDPOINT_URL_S3": "localhost:9"}, UsageError, "http://"),
        ("s3://bucket/x", {"AWS_REGION": "eu central"}, UsageError, "AWS_*"),
        (f"s3://{MULTI_REGION}/x", {}, Rejected, "one region"),
    ],
)
def test_settings_that_no_retry_mends(
    uri: str,
    settings: dict[str, str],
    kind: type[JobError],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    usual["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:9"
    for name, value in {**usual, **settings}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(kind) as error:
        open_store(uri).read("a")
    assert error.value.message.count("Received: ") == 1
    assert words in error.value.hint


def test_a_certificate_of_another_host_is_final() -> None:
    url = "https://127.0.0.1"
    for words in (
        "no appropriate subjectAltName fields were found",
        "hostname 'a' doesn't match 'b'",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
        "[Errno 21] Is a directory",
    ):
        assert is_final(SSLError(endpoint_url=url, error=words))
    assert not is_final(SSLError(endpoint_url=url, error="EOF occurred in violation of protocol"))


def test_an_answer_that_stops_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_budget, "LAST_SECONDS", 0.2)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    released = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("ETag", '"x"')
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.wfile.flush()
            released.wait(30)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    store = open_store("s3://bucket/x")
    with pytest.raises(StoreError, match="in the middle of an answer"), store.within(0):
        store.read("a")
    released.set()
    server.shutdown()
    server.server_close()

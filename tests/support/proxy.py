"""An HTTP proxy in front of the real S3 server that does to requests what bad days do."""

import contextlib
import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Fault(Enum):
    """What can happen to one request."""

    NONE = auto()
    CUT = auto()
    """The connection breaks before the server hears anything."""
    SWALLOW = auto()
    """The server acts, and its answer is lost."""
    TRUNCATE = auto()
    """The connection breaks in the middle of the answer's body."""
    BUSY = auto()
    """503 SlowDown."""
    CONFLICT = auto()
    """409 ConditionalRequestConflict."""
    PRECONDITION = auto()
    """412 PreconditionFailed."""
    EXPIRED = auto()
    """400 ExpiredToken, as AWS has it."""
    STALL = auto()
    """No answer comes; the server hears nothing."""
    UNCONDITIONAL = auto()
    """The server does not know If-Match and If-None-Match."""
    HIDE_MISSING = auto()
    """403 instead of 404, as S3 answers without s3:ListBucket."""


ANSWERS = {
    Fault.BUSY: (503, "SlowDown"),
    Fault.CONFLICT: (409, "ConditionalRequestConflict"),
    Fault.PRECONDITION: (412, "PreconditionFailed"),
    Fault.EXPIRED: (400, "ExpiredToken"),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Proxy:
    """Forwards to a server and asks `fault` about each request.

    Attributes:
        endpoint: Where clients connect.
        fault: Called with each request, in order; says what happens to it.
        seen: Every request that came.
        delay: Seconds before each answer.
        released: Set it to break the connections that stall.
    """

    def __init__(self, env: Mapping[str, str]):
        self._env = env
        self.fault: Callable[[Request], Fault] = lambda request: Fault.NONE
        self.seen: list[Request] = []
        self.delay = 0.0
        self.released = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def env(self) -> dict[str, str]:
        """The AWS_* variables of a client that goes through the proxy."""
        return {**self._env, "AWS_ENDPOINT_URL_S3": self.endpoint}

    def once(self, fault: Fault, method: str = "PUT", suffix: str = "") -> None:
        """One fault for the next request with this method and end of path."""
        left = [fault]

        def choose(request: Request) -> Fault:
            if left and request.method == method and request.path.endswith(suffix):
                return left.pop()
            return Fault.NONE

        self.fault = choose

    def stop(self) -> None:
        """Ends the proxy."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def choose(self, request: Request) -> Fault:
        """Notes the request and asks what happens to it."""
        with self._lock:
            self.seen.append(request)
            return self.fault(request)

    def forward(self, request: Request, *, unconditional: bool) -> tuple[int, list, bytes]:
        """The server's answer: status, headers, body."""
        headers = {k: v for k, v in request.headers.items() if k.lower() != "expect"}
        if unconditional:
            headers = self._without_conditions(request)
        upstream = urlsplit(self._env["AWS_ENDPOINT_URL_S3"])
        connection = http.client.HTTPConnection(upstream.hostname, upstream.port, timeout=60)
        with contextlib.closing(connection):
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()

    def _without_conditions(self, request: Request) -> dict[str, str]:
        """The headers without If-*, signed again: the signature covers them."""
        dropped = ("if-", "authorization", "expect", "x-amz-date", "x-amz-content-sha256")
        kept = {k: v for k, v in request.headers.items() if not k.lower().startswith(dropped)}
        url = f"http://{request.headers['Host']}{request.path}"
        signed = AWSRequest(method=request.method, url=url, headers=kept, data=request.body)
        keys = Credentials(self._env["AWS_ACCESS_KEY_ID"], self._env["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(keys, "s3", self._env["AWS_REGION"]).add_auth(signed)
        return dict(signed.headers.items())


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: Proxy
    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(
            method=self.command, path=self.path, headers=dict(self.headers.items()), body=body
        )
        fault = self.owner.choose(request)
        time.sleep(self.owner.delay)
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            return self._answer(status, [], _error(code))
        if fault is Fault.STALL:
            self.owner.released.wait(60)
        if fault in (Fault.CUT, Fault.STALL):
            return self._break()
        status, headers, answer = self.owner.forward(
            request, unconditional=fault is Fault.UNCONDITIONAL
        )
        if fault is Fault.SWALLOW:
            return self._break()
        if fault is Fault.HIDE_MISSING and status == 404:
            return self._answer(403, [], _error("AccessDenied"))
        if fault is Fault.TRUNCATE:
            self._answer(status, headers, answer, sent=len(answer) // 2)
            return self._break()
        return self._answer(status, headers, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _answer(self, status: int, headers: list, body: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = {k.lower(): v for k, v in headers}.get("content-length", len(body))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def _break(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client went away
            super().handle()


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()


@contextlib.contextmanager
def serve(env: Mapping[str, str]) -> Iterator[Proxy]:
    """A proxy for the time of a `with` block."""
    proxy = Proxy(env)
    try:
        yield proxy
    finally:
        proxy.stop()

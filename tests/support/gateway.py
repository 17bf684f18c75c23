"""A server that takes what a Pushgateway takes, and keeps it."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.parser import text_string_to_metric_families


@dataclass
class Gateway:
    """Its URL, and the pushes: method, path and samples by name and labels."""

    url: str
    pushes: list[tuple[str, str, dict[tuple[str, ...], float]]] = field(default_factory=list)


@contextlib.contextmanager
def serve() -> Iterator[Gateway]:
    """Runs the server in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            samples = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(body)
                for sample in family.samples
            }
            gateway.pushes.append((self.command, self.path, samples))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    gateway = Gateway(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

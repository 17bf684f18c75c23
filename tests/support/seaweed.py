"""A real S3 server for the tests: SeaweedFS on loopback, in a temporary folder."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REGION = "us-east-1"
BUCKET = "mlp-job-tests"
PORTS = ("master", "volume", "filer", "s3")
START_SECONDS = 60

# The server dies with whoever holds the other end of the pipe, however that one ends.
WATCHDOG = 'exec 3<&0; "$@" <&- 3<&- & read _ <&3; kill -9 $!; wait $!'


class SeaweedFS:
    """One running server with one bucket; ports, keys and data are its own.

    Args:
        folder: Where the server keeps its data and its log.

    Attributes:
        endpoint: `http://127.0.0.1:PORT`.
        bucket: A bucket that exists.
        env: The AWS_* variables of an identity that may do anything.
    """

    bucket = BUCKET

    def __init__(self, folder: Path):
        self.folder = folder
        for _ in range(3):  # a port that was free may be taken by the time it is used
            self._launch()
            if self._ready():
                break
            self.stop()
        else:
            raise RuntimeError("SeaweedFS does not start:\n" + (folder / "log").read_text()[-4000:])
        self.client().create_bucket(Bucket=BUCKET)

    def _launch(self) -> None:
        free = free_ports(2 * len(PORTS))
        ports = dict(zip(PORTS, free[: len(PORTS)], strict=True))
        grpc = dict(zip(PORTS, free[len(PORTS) :], strict=True))
        self._sockets = [Path(f"/tmp/seaweedfs-{p}-grpc-{port}.sock") for p, port in grpc.items()]
        self.endpoint = f"http://127.0.0.1:{ports['s3']}"
        self.env = credentials(self.endpoint, "admin", uuid.uuid4().hex)
        data = self.folder / f"data-{uuid.uuid4().hex[:8]}"
        data.mkdir()
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [_admin(self.env)]}))
        command = [
            str(Path(sys.executable).with_name("weed")),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-volume.max=100",
            "-filer",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-s3",
            f"-s3.config={config}",
            f"-s3.localSocket={self.folder / 's3.sock'}",
            "-s3.iam.readOnly=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.lance=0",
            "-s3.port.iceberg=0",
            *(f"-{part}.port={port}" for part, port in ports.items()),
            *(f"-{part}.port.grpc={port}" for part, port in grpc.items()),
        ]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WATCHDOG, "sh", *command],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.endpoint + "/healthz", timeout=5):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False

    def stop(self) -> None:
        """Kills the server; its data stays in the folder. A second call does nothing."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)
        for path in self._sockets:
            path.unlink(missing_ok=True)

    def client(self, service: str = "s3", env: Mapping[str, str] | None = None) -> Any:
        """A plain boto3 client, without retries, for the admin or the given identity."""
        import boto3
        from botocore.config import Config

        env = env or self.env
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def identity(self, policy: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The AWS_* variables of a new user that may do what an IAM policy allows, no more.

        Args:
            policy: An IAM policy document; a user without one may do nothing.
        """
        iam, user = self.client("iam"), f"user-{uuid.uuid4().hex[:8]}"
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        if policy is not None:
            iam.put_user_policy(
                UserName=user, PolicyName="tested", PolicyDocument=json.dumps(policy)
            )
        return credentials(self.endpoint, key["AccessKeyId"], key["SecretAccessKey"])


def credentials(endpoint: str, key: str, secret: str) -> dict[str, str]:
    """What boto3 needs in the environment to be one identity and to ask nobody else."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on.

    They lie below those that Linux takes for connections: one of these may be in use when the
    server starts.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in ports:
                ports.append(port)
    return ports


@contextlib.contextmanager
def serve() -> Iterator[SeaweedFS]:
    """A server for the time of a `with` block."""
    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes only.
    folder = Path(tempfile.mkdtemp(prefix="seaweed-"))
    try:
        server = SeaweedFS(folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _admin(env: Mapping[str, str]) -> dict[str, object]:
    return {
        "name": "admin",
        "credentials": [
            {"accessKey": env["AWS_ACCESS_KEY_ID"], "secretKey": env["AWS_SECRET_ACCESS_KEY"]}
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }

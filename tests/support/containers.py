"""The image, built once a session by the README's commands, and hardened containers of it."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import documents
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "docker/Dockerfile"

# The engine's own client has BuildKit inside; another one further up the PATH may lack it.
DOCKER = next(filter(os.path.exists, ["/usr/bin/docker"]), None) or shutil.which("docker")

BUILD_SECONDS = 1500
RUN_SECONDS = 120

HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=12345:12345",
)
"""What a careful cluster asks of a container; the user has no entry in the image's passwd."""


def docker(
    *arguments: str, check: bool = True, timeout: float = RUN_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Calls the engine's client; its output is in the error when it fails and `check` is set."""
    assert DOCKER, "call needs_engine() first"
    done = subprocess.run(
        [DOCKER, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"[-8000:])
    return done


def needs_engine() -> None:
    """Skips the test where no Docker engine answers."""
    if DOCKER is None or docker("info", check=False).returncode:
        pytest.skip("no Docker engine answers on this machine")


def readme(start: str) -> str:
    """The only command line of docker/README.md that starts so."""
    return documents.line("docker/README.md", start)


def build(tag: str) -> str:
    """Builds an image by the README's command; returns its tag."""
    command = shlex.split(readme(f"docker build -f docker/Dockerfile -t {tag} "))
    docker("build", "--network=host", *command[2:], timeout=BUILD_SECONDS)
    return tag


@pytest.fixture(scope="session")
def image() -> str:
    """The tag of the `cpu` target, freshly built."""
    needs_engine()
    return build("mlp-job:cpu")


@pytest.fixture(scope="session")
def gpu_image(image: str) -> str:
    """The tag of the `gpu` target, freshly built on top of what `cpu` built."""
    return build("mlp-job")


def run(
    image: str,
    *command: str,
    options: tuple[str, ...] = (),
    entrypoint: str | None = None,
    network: str = "none",
) -> subprocess.CompletedProcess[str]:
    """Runs a hardened container to its end, without a network unless one is named."""
    options = (*options, f"--network={network}")
    with container(image, *command, options=options, entrypoint=entrypoint) as name:
        docker("start", name)
        code = int(docker("wait", name).stdout)
        logs = docker("logs", name)
        return subprocess.CompletedProcess(command, code, logs.stdout, logs.stderr)


@contextlib.contextmanager
def container(
    image: str, *command: str, options: tuple[str, ...] = (), entrypoint: str | None = None
) -> Iterator[str]:
    """A hardened container, created and not started; removed at the end."""
    name = f"mlp-job-test-{uuid.uuid4().hex}"
    entry = [f"--entrypoint={entrypoint}"] if entrypoint else []
    docker("create", f"--name={name}", *HARDENED, *options, *entry, image, *command)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def inspect(image: str) -> dict[str, Any]:
    """What the engine knows of an image."""
    known: dict[str, Any] = json.loads(docker("image", "inspect", image).stdout)[0]
    return known


def mount(folder: Path, target: str, *, writable: bool = False) -> str:
    """The option that shows a folder or file of this machine in the container."""
    return f"--volume={folder}:{target}" + ("" if writable else ":ro")


def variables(values: Mapping[str, str]) -> tuple[str, ...]:
    """The options that set environment variables."""
    return tuple(f"--env={name}={value}" for name, value in values.items())

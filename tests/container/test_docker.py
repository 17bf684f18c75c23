"""The job in a container: hardened, offline, against S3, without a GPU, and stopped."""

import json
import os
import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from containers import (
    DOCKER,
    HARDENED,
    REPOSITORY,
    RUN_SECONDS,
    container,
    docker,
    mount,
    readme,
    run,
    variables,
)
from seaweed import SeaweedFS

pytestmark = pytest.mark.timeout(1800)  # whichever test comes first builds the image

UNIT_TESTS = (
    "config/test_config", "data/test_data_idx", "data/test_data_npz", "data/test_files",
    "device/test_device", "models/test_mlp", "registry/test_fingerprint",
)  # fmt: skip
"""What runs inside the image as well: its Python is another one than this."""

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the container's user, who is nobody here, may write to."""
    folder = tmp_path / "models"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def message(tmp_path: Path) -> Path:
    """The file that the kubelet mounts for the termination message."""
    path = tmp_path / "termination-log"
    path.touch()
    path.chmod(0o666)
    return path


@pytest.fixture
def options(folder: Path, message: Path) -> tuple[str, ...]:
    """The options that give a container its store and its termination message."""
    return (
        mount(folder, "/models", writable=True),
        mount(message, "/dev/termination-log", writable=True),
        "--env=MLP_JOB_TERMINATION_LOG=/dev/termination-log",
    )


def events(log: str) -> dict[str, dict[str, object]]:
    """The last log line of each event."""
    lines = [json.loads(line) for line in log.splitlines()]
    return {line["event.name"]: line for line in lines if "event.name" in line}


def test_help_is_there_at_once(image):
    done = run(image, "--help")
    assert done.returncode == 0
    assert "train" in done.stdout
    assert done.stderr == ""


def test_the_default_job_publishes_to_a_mounted_folder_offline(image, folder, message, options):
    done = run(image, "train", options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert events(done.stdout)["run.ended"]["severity_text"] == "INFO"
    manifest = json.loads((folder / "mnist/versions/1/manifest.json").read_text())
    assert manifest["metrics"]["accuracy"] > 0.97
    assert json.loads((folder / "mnist/champion.json").read_text())["version"] == 1
    assert {path.stat().st_uid for path in folder.rglob("*")} == {12345}
    told = json.loads(message.read_text())
    assert (told["exit_code"], told["version"]) == (0, 1)


def test_the_readmes_cpu_line_publishes_to_the_callers_folder(image, tmp_path):
    line = readme("docker run --rm --user").replace("docker", str(DOCKER), 1)
    (tmp_path / "models").mkdir()
    subprocess.run(f"{line} --epochs 1", shell=True, cwd=tmp_path, check=True, timeout=RUN_SECONDS)
    published = tmp_path / "models/mnist/versions/1/manifest.json"
    assert published.stat().st_uid == os.getuid()


def test_the_readmes_hardened_line_is_what_these_tests_run():
    line = readme("docker run --rm --read-only").replace("--security-opt ", "--security-opt=")
    asked = line.replace("--tmpfs ", "--tmpfs=").replace("--cap-drop ", "--cap-drop=").split()
    assert {option for option in HARDENED if "--user" not in option} <= set(asked)


def test_the_job_publishes_to_s3_on_the_host(image, s3: SeaweedFS, s3_uri: str):
    options, store = variables(s3.env), ("--store", s3_uri)
    done = run(image, "train", *store, "--epochs=1", options=options, network="host")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = run(image, "models", *store, "--json", options=options, network="host")
    assert [each["version"] for each in json.loads(listed.stdout)["models"]["mnist"]] == [1]


def assert_refused_for_want_of_a_gpu(done: Done, folder: Path, message: Path) -> None:
    assert done.returncode == 69, done.stdout + done.stderr
    told = json.loads(message.read_text())
    assert (told["exit_code"], told["error"]) == (69, "DeviceUnavailable")
    assert "no NVIDIA driver" in told["message"]
    assert told["hint"]
    assert "epoch.ended" not in events(done.stdout)
    assert not list(folder.rglob("manifest.json"))


def test_a_gpu_that_was_asked_for_and_is_missing_is_69(image, folder, message, options):
    done = run(image, "train", options=(*options, "--env=MLP_JOB_DEVICE=gpu"))
    assert_refused_for_want_of_a_gpu(done, folder, message)


def test_the_gpu_image_asks_for_a_gpu_unasked(gpu_image, folder, message, options):
    done = run(gpu_image, "train", options=options)
    assert_refused_for_want_of_a_gpu(done, folder, message)


def test_stop_in_mid_epoch_is_143_and_publishes_nothing(image, folder, message, options):
    options = (*options, "--network=none")
    with container(image, "train", "--epochs=1000", options=options) as name:
        docker("start", name)
        wait_for_an_epoch(name)
        docker("stop", "--time=60", name)
        assert docker("wait", name).stdout.strip() == "143"
        ended = events(docker("logs", name).stdout)["run.ended"]
    assert ended["exit_code"] == 143
    told = json.loads(message.read_text())
    assert (told["exit_code"], told["error"]) == (143, "Preempted")
    assert not list(folder.rglob("manifest.json"))


def wait_for_an_epoch(name: str) -> None:
    """Waits until a container has logged the end of its first epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        log = docker("logs", name).stdout
        if '"epoch.ended"' in log:
            return
        assert docker("inspect", "-f", "{{.State.Running}}", name).stdout.strip() == "true", log
        time.sleep(0.1)
    raise AssertionError(f"no epoch in two minutes: {log}")


def test_unit_tests_pass_inside_the_image(image, tmp_path):
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    wanted = [
        pin for pin in groups["dev"] if re.match(r"(pytest|pytest-timeout|hypothesis)==", pin)
    ]
    tmp_path.chmod(0o755)
    target = ("--target", str(tmp_path), "--python-version=3.13", "--only-binary=:all:")
    platform = "--python-platform=x86_64-manylinux_2_28"
    install = ("uv", "pip", "install", "--quiet", *target, platform, *wanted)
    subprocess.run(install, check=True, timeout=300)
    options = (
        mount(tmp_path, "/packages"),
        mount(REPOSITORY / "tests", "/source/tests"),
        mount(REPOSITORY / "pyproject.toml", "/source/pyproject.toml"),
        "--env=PYTHONPATH=/packages",
        "--workdir=/source",
    )
    files = [f"tests/unit/{name}.py" for name in UNIT_TESTS]
    pytest_in_it = ("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *files)
    done = run(image, *pytest_in_it, options=options, entrypoint="python")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout

"""What is in the image and what is not: its configuration, its files, its layers, its lint."""

import json
import re
import subprocess
import sys

import pytest
from containers import DOCKERFILE, REPOSITORY, docker, inspect, mount, needs_engine, run

from job import __version__

pytestmark = pytest.mark.timeout(1800)  # whichever test comes first builds the image

PLAIN_BYTES = 7_047_459_178
"""The same packages by plain pip on the same base, as `tests/bench/image.py --plain` found it."""


def test_the_configuration_is_a_careful_one(image):
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["mlp-job"]
    assert config["User"] == "65532:65532"
    environment = dict(each.split("=", 1) for each in config["Env"])
    assert environment["MLP_JOB_DEVICE"] == "cpu"
    assert environment["MLP_JOB_STORE"] == "/models"
    assert "NVIDIA_VISIBLE_DEVICES" not in environment


def test_no_layer_tells_a_secret(image):
    told = json.dumps(inspect(image)["Config"]) + docker("history", "--no-trunc", image).stdout
    assert not re.search(r"(?i)secret|passw|token|aws_", told)


def test_labels_take_version_revision_and_time_and_cost_no_layer(image):
    said = {"VERSION": __version__, "REVISION": "0123abc", "CREATED": "2026-01-02T03:04:05Z"}
    arguments = [f"--build-arg={name}={value}" for name, value in said.items()]
    command = ("build", "--quiet", "--network=host", "--file", str(DOCKERFILE), "--target=cpu")
    identity = docker(*command, *arguments, ".").stdout.strip()
    labelled = inspect(identity)
    docker("image", "rm", identity)
    labels = labelled["Config"]["Labels"]
    assert {name: labels[f"org.opencontainers.image.{name.lower()}"] for name in said} == said
    assert labels["org.opencontainers.image.title"] == "mlp-job"
    packages = inspect(image)["RootFS"]["Layers"][:-1]
    assert labelled["RootFS"]["Layers"][:-1] == packages


def test_nothing_that_builds_is_inside(image):
    code = (
        "import importlib.util, shutil\n"
        "tools = 'uv pip hatchling gcc cc g++ make ld git curl wget'.split()\n"
        "print([tool for tool in tools if shutil.which(tool)])\n"
        "modules = 'pip uv hatchling setuptools wheel pytest'.split()\n"
        "print([module for module in modules if importlib.util.find_spec(module)])\n"
    )
    done = run(image, "-c", code, entrypoint="python")
    assert done.stdout.splitlines() == ["[]", "[]"], done.stderr


def test_every_module_comes_with_its_bytecode(image):
    code = "import job.pipeline, tensorflow.compat.v2, keras, boto3, matplotlib.pyplot, pyarrow"
    done = run(image, "-v", "-c", code, entrypoint="python")
    assert done.returncode == 0, done.stderr
    read = re.findall(r"^# code object from '?([^'\s]+)", done.stderr, re.MULTILINE)
    assert len(read) > 1000
    assert [path for path in read if not path.endswith(".pyc")] == []


def test_the_user_may_write_to_the_store_and_nowhere_else_in_the_image(image):
    code = (
        "import os\n"
        "for top, folders, files in os.walk('/'):\n"
        "    if top == '/': folders[:] = set(folders) - {'proc', 'sys', 'dev'}\n"
        "    if os.access(top, os.W_OK): print(top)\n"
    )
    options = ("--user=65532:65532", "--read-only=false")
    done = run(image, "-c", code, options=options, entrypoint="python")
    shared = {"/tmp", "/var/tmp", "/run/lock"}  # the base's, open to all
    assert set(done.stdout.split()) - shared == {"/models"}


def test_only_what_is_listed_reaches_the_builder(tmp_path):
    needs_engine()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore")
    (tmp_path / ignore.name).write_text(ignore.read_text())
    seen = tmp_path / "seen"
    docker("build", "--file", str(tmp_path / "Dockerfile"), f"--output={seen}", ".")
    listed = {"LICENSE", "README.md", "docker", "job", "pyproject.toml"}
    assert {path.name for path in seen.iterdir()} == listed
    assert {path.suffix for path in (seen / "docker").iterdir()} == {".txt"}
    assert not list(seen.rglob("__pycache__"))


def test_hadolint_passes():
    command = [f"{sys.prefix}/bin/hadolint", DOCKERFILE]
    subprocess.run(command, check=True, timeout=60)


def test_the_gpu_image_has_every_cuda_library_that_tensorflow_opens(gpu_image):
    script = mount(REPOSITORY / "tests/support/cuda_libraries.py", "/cuda_libraries.py")
    done = run(gpu_image, "/cuda_libraries.py", options=(script,), entrypoint="python")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {name for name, opens in told["opens"].items() if not opens} == set()
    assert {"libcublasLt.so.12", "libnvJitLink.so.12"} <= set(told["loaded"])


def test_the_gpu_image_has_xlas_assembler_and_device_library(gpu_image):
    code = (
        "import pathlib, subprocess, tensorflow\n"
        "nvcc = pathlib.Path(tensorflow.__file__).parent.parent / 'nvidia/cuda_nvcc'\n"
        "assert (nvcc / 'nvvm/libdevice/libdevice.10.bc').read_bytes()[:4] == b'BC\\xc0\\xde'\n"
        "head = '.version 8.0\\n.target sm_80\\n.address_size 64\\n'\n"
        "kernel = head + '.visible .entry nothing() { ret; }\\n'\n"
        "for arch in 'sm_80', 'sm_90':\n"
        "    command = [nvcc / 'bin/ptxas', '-', f'-arch={arch}', '-o', '/tmp/kernel']\n"
        "    subprocess.run(command, input=kernel.encode(), check=True)\n"
    )
    done = run(gpu_image, "-c", code, entrypoint="python")
    assert done.returncode == 0, done.stderr


def test_the_gpu_image_takes_four_fifths_of_a_plain_installation(gpu_image):
    assert inspect(gpu_image)["Size"] <= 0.81 * PLAIN_BYTES
    environment = "\n".join(inspect(gpu_image)["Config"]["Env"])
    assert "MLP_JOB_DEVICE=gpu" in environment
    assert "NVIDIA_VISIBLE_DEVICES" not in environment

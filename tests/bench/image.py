"""Measures the image: each layer's size, the plain installation's, and the start's seconds.

    uv run python tests/bench/image.py            the layers of both targets, and the start
    uv run python tests/bench/image.py --plain    plain pip's size as well; 3 minutes, 7 GB

The start is the time from the command to the end of an epoch of one step, in a hardened
container and outside, in turns; the median of the rounds is printed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from containers import DOCKER, HARDENED, REPOSITORY, build, docker, inspect, mount

ROUNDS = 5
TRAIN = ("train", "--name=tiny", "--epochs=1", "--device=cpu", "--log-format=json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plain", action="store_true", help="measure plain pip's size too")
    arguments = parser.parse_args()
    for tag in "mlp-job:cpu", "mlp-job":
        print_layers(build(tag))
    if arguments.plain:
        print_plain(inspect("mlp-job")["Size"])
    print_start("mlp-job:cpu")


def print_layers(tag: str) -> None:
    """One line a layer that is not empty, and the sum."""
    print(f"\n{tag}")
    history = docker("history", "--human=false", "--format={{.Size}}\t{{.CreatedBy}}", tag)
    for line in reversed(history.stdout.splitlines()):
        size, made_by = line.split("\t", 1)
        if int(size) >= 1e5:
            print(f"{int(size) / 1e6:8,.0f} MB  {made_by[:70] or 'the base'}")
    print(f"{inspect(tag)['Size'] / 1e6:8,.0f} MB  in all")


def print_plain(size: int) -> None:
    """The same packages, by pip and with everything in their wheels."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    pins = [*project["dependencies"], *project["optional-dependencies"]["gpu"]]
    names = " ".join(f"'{pin}'" for pin in pins if not pin.startswith("tensorflow=="))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Dockerfile").write_text(
            "FROM python:3.13-slim-trixie\n"
            f"RUN python3 -m venv /venv && /venv/bin/pip install -q --no-cache-dir {names}\n"
        )
        plain = docker("build", "--quiet", "--network=host", folder, timeout=1500).stdout.strip()
    plain_size = inspect(plain)["Size"]
    docker("image", "rm", plain)
    print(f"\nplain pip: {plain_size:,} bytes; the gpu image takes {size / plain_size:.1%} of that")


def print_start(tag: str) -> None:
    """Seconds to the first step, inside a container and outside."""
    rng = np.random.default_rng(0)
    inside, outside = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o777)
        split = {"x": rng.integers(0, 256, (320, 28, 28), np.uint8), "y": np.arange(320) % 10}
        np.savez(
            folder / "tiny.npz",
            **{f"{k}_{s}": v for k, v in split.items() for s in ("train", "test")},
        )
        shown = mount(folder, "/models", writable=True)
        container = (str(DOCKER), "run", "--rm", "--network=none", *HARDENED, shown, tag, *TRAIN)
        process = (f"{sys.prefix}/bin/mlp-job", *TRAIN)
        for round_ in range(ROUNDS):
            inside.append(first_step([*container, "--data=/models/tiny.npz"]))
            store = f"--store={folder / str(round_)}"
            outside.append(first_step([*process, f"--data={folder / 'tiny.npz'}", store]))
    first, second = statistics.median(inside), statistics.median(outside)
    print(
        f"\nfirst step: {first:.2f} s in a container, {second:.2f} s outside: {first / second:.2f}"
    )


def first_step(command: Sequence[str]) -> float:
    """Seconds until a job has logged its first epoch."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as job:
        assert job.stdout
        log = b""
        for line in job.stdout:
            log += line
            if b'"epoch.ended"' in line:
                seconds = time.perf_counter() - start
                job.stdout.read()
                return seconds
    raise RuntimeError(log.decode())


if __name__ == "__main__":
    main()

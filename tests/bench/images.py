"""Figures of convolutional networks: accuracy over seeds, and seconds an epoch beside peers.

    uv run python tests/bench/images.py mnist --seeds 0 1 2
    uv run python tests/bench/images.py digits FOLDER
    uv run --isolated --no-dev python tests/bench/images.py speed

Every job is the command in a process of its own; no figure was chosen by the test rows.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEERS = Path(__file__).parent / "peers"
SPLITS = 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["mnist", "digits", "speed"])
    parser.add_argument("folder", nargs="?", type=Path, help="where digits are written as files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--train", nargs="*", default=[], help="options, such as members=3")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options = parser.parse_args()
    more = [f"--device={options.device}", *(f"--{option}" for option in options.train)]
    if options.what == "mnist":
        show([job(f"--seed={seed}", *more) for seed in options.seeds])
    elif options.what == "digits":
        write_digits(options.folder)
        data = [options.folder / str(split) for split in range(SPLITS)]
        show([job(f"--data={each}", "--name=digits", *more) for each in data])
    else:
        speed(options.device)


def job(*options: str) -> dict[str, float]:
    """Runs `mlp-job train --model cnn`; what it came to, and its seconds."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "job", "train", "--model=cnn"]
        began = time.perf_counter()
        subprocess.run(
            [*command, f"--store={store}", "--rejection-ok", *options],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        [path] = Path(store).glob("*/versions/1/*/metrics.json")
        metrics = json.loads(path.read_text())
    done = {"accuracy": metrics["accuracy"], "loss": metrics["loss"], "seconds": seconds}
    print(json.dumps(done), flush=True)
    return done


def show(runs: list[dict[str, float]]) -> None:
    for name in ("accuracy", "loss", "seconds"):
        values = [run[name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name}: mean {statistics.mean(values):.4f}, deviation {spread:.4f}, {len(values)}")


def write_digits(folder: Path) -> None:
    """scikit-learn's digits as PNG files, in five splits that each test on another fifth."""
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    digits = load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    folds = StratifiedKFold(SPLITS, shuffle=True, random_state=0).split(pixels, digits.target)
    for split, (_, test) in enumerate(folds):
        parts = np.full(len(pixels), "train")
        parts[test] = "test"
        for i, (image, label, part) in enumerate(zip(pixels, digits.target, parts, strict=True)):
            path = folder / str(split) / str(part) / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def speed(device: str) -> None:
    """Seconds of a later epoch of the same network, in fresh processes, one after the other."""
    peers = {"mlp-job": "", "mlp-job none": "", "plain": "", "pytorch": "torch==2.13.0"}
    for name, package in peers.items():
        python = [sys.executable]
        if package:
            uv = [
                "uv",
                "run",
                "--isolated",
                "--no-project",
                f"--python={platform.python_version()}",
            ]
            python = [*uv, f"--with={package}", f"--with=numpy=={np.__version__}", "python"]
        quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        quiet["BENCH_DEVICE"] = device
        run = subprocess.run(
            [*python, str(PEERS / "convolutions.py"), *name.split()],
            capture_output=True, text=True, env=os.environ | quiet, check=True,
        )  # fmt: skip
        print(f"{name}: {' '.join(run.stdout.splitlines()[-2:])}", flush=True)


if __name__ == "__main__":
    main()

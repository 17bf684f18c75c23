"""The benchmark: this job beside plain Keras, PyTorch and JAX, interleaved, on this machine.

    uv run --isolated --no-dev python -m tests.bench

PyTorch and JAX get throwaway environments of their own from uv: Keras imports them where it
finds them, and they would weigh on its figures. (PyPI's PyTorch for Linux carries CUDA; with
UV_FIND_LINKS uv takes a CPU wheel from a folder.)

Every run is a fresh process on the CPU. A figure is the median of the rounds, a ratio the median
of the rounds' ratios, so that a machine that is busy for a while does not favour anyone.
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

PEERS = {
    "plain model.fit": ("plain", ""),
    "mlp-job": ("ours", ""),
    "PyTorch, eager": ("pytorch", "torch==2.13.0"),
    "JAX, jit of scan": ("jax_scan", "jax==0.10.2"),
}
"""Name in the table → script, and the package that only this script needs."""

FOLDER = Path(__file__).parent / "peers"
TRAINED_ROWS, HELD_OUT_ROWS = 48_000, 12_000
FORWARD_FLOP = 2 * (784 * 350 + 350 * 50 + 50 * 10)
TRAIN_FLOP = 3 * FORWARD_FLOP - 2 * 784 * 350  # no gradient with respect to the pixels
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--cores", type=int, default=2, help="cores that every run may use")
    parser.add_argument("--no-scale", action="store_true", help="leave out the larger tables")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    settings = [f"--epochs={options.epochs}", f"--batch-size={options.batch_size}"]
    rounds: list[dict[str, Figures]] = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        figures = {name: peer(*PEERS[name], *settings) for name in PEERS}
        figures["mlp-job train"] = job(*settings)
        rounds.append(figures)
    print_peers(rounds)
    print_floor(rounds)
    print_process(rounds)
    if not options.no_scale:
        print_scale(options.batch_size)


def peer(script: str, package: str, *settings: str) -> Figures:
    """Runs one script; its figures, and its whole process's seconds."""
    python = [sys.executable]
    if package:
        uv = ["uv", "run", "--isolated", "--no-project", f"--python={platform.python_version()}"]
        python = [*uv, f"--with={package}", f"--with=numpy=={np.__version__}", "python"]
    seconds, output = timed([*python, str(FOLDER / f"{script}.py"), *settings])
    return {**json.loads(output.splitlines()[-1]), "process": seconds}


def job(*settings: str) -> Figures:
    """Runs the whole job into an empty store; its seconds, and those of its help."""
    command = [sys.executable, "-m", "job"]
    with tempfile.TemporaryDirectory() as store:
        train = [*command, "train", "--device=cpu", f"--store={store}", *settings]
        return {"process": timed(train)[0], "help": timed([*command, "--help"])[0]}


def timed(command: list[str]) -> tuple[float, str]:
    quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    environment = os.environ | quiet | {"CUDA_VISIBLE_DEVICES": "-1"}
    began = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - began
    if run.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {run.returncode}:\n{run.stderr}")
    return seconds, run.stdout


def print_peers(rounds: list[dict[str, Figures]]) -> None:
    columns = {"first": "first epoch s", "later": "later epoch s", "fit": "fit s"}
    columns |= {"memory": "peak MiB", "accuracy": "accuracy"}
    print("\n| | " + " | ".join(columns.values()) + " |\n|---|" + "---|" * len(columns))
    for name in PEERS:
        cells = [
            f"{median(rounds, name, column):.{digits}f}"
            for column, digits in zip(columns, (2, 3, 2, 0, 4), strict=True)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| ratio to mlp-job | first epoch | later epoch | fit | peak memory |")
    print("|---|---|---|---|---|")
    for name in PEERS:
        cells = [
            f"{ratio(rounds, (name, column), ('mlp-job', column)):.2f}"
            for column in ("first", "later", "fit", "memory")
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    share = 1 / ratio(rounds, ("plain model.fit", "memory"), ("mlp-job", "memory"))
    print(f"\nPeak memory, mlp-job / plain: {share:.2f}.")


def print_floor(rounds: list[dict[str, Figures]]) -> None:
    rate = peer("floor", "")["gflops"]
    flop = TRAINED_ROWS * TRAIN_FLOP + HELD_OUT_ROWS * FORWARD_FLOP
    floor = flop / rate / 1e9
    later = median(rounds, "mlp-job", "later")
    print(
        f"Floor of an epoch: {flop / 1e9:.1f} GFLOP at {rate:.0f} GFLOP/s: {floor:.3f} s, "
        f"{floor / later:.0%} of mlp-job's later epoch."
    )


def print_process(rounds: list[dict[str, Figures]]) -> None:
    whole = ratio(rounds, ("mlp-job train", "process"), ("plain model.fit", "process"))
    print(
        "Whole process, from start to published model / the tutorial from start to accuracy: "
        f"{median(rounds, 'mlp-job train', 'process'):.1f} s / "
        f"{median(rounds, 'plain model.fit', 'process'):.1f} s, ratio {whole:.2f}."
    )
    print(f"mlp-job --help: {median(rounds, 'mlp-job train', 'help'):.2f} s.")


def print_scale(batch_size: int) -> None:
    print("\n| rows | epoch s | trained rows/s | peak MiB |\n|---|---|---|---|")
    for rows, epochs in ((60_000, 10), (600_000, 4), (6_000_000, 2)):
        settings = f"--epochs={epochs}", f"--batch-size={batch_size}", f"--rows={rows}"
        figures = peer("ours", "", *settings)
        speed = rows * 0.8 / figures["later"]
        print(f"| {rows:,} | {figures['later']:.2f} | {speed:,.0f} | {figures['memory']:,.0f} |")


def median(rounds: list[dict[str, Figures]], name: str, figure: str) -> float:
    return statistics.median(figures[name][figure] for figures in rounds)


def ratio(
    rounds: list[dict[str, Figures]], above: tuple[str, str], below: tuple[str, str]
) -> float:
    return statistics.median(
        figures[above[0]][above[1]] / figures[below[0]][below[1]] for figures in rounds
    )


if __name__ == "__main__":
    main()

"""What every peer shares: the arguments, MNIST, and the one line of JSON that it prints."""

import argparse
import gzip
import json
import os
import resource
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[3] / "job" / "data" / "embedded"
DEVICE = os.environ.get("BENCH_DEVICE", "cpu")
"""cpu or gpu: where the peers that have a choice compute."""

HELD_OUT = 12_000
"""The last rows of the training set, kept for validation."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--rows", type=int, default=60_000, help="training rows; MNIST repeated")
    return parser.parse_args()


def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(x, y) of the training set and of the test set; rows of 784 uint8 and digits of uint8."""
    return (
        _idx("train-images-idx3", 16).reshape(-1, 784),
        _idx("train-labels-idx1", 8),
        _idx("t10k-images-idx3", 16).reshape(-1, 784),
        _idx("t10k-labels-idx1", 8),
    )


def _idx(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.open(FOLDER / f"{name}-ubyte.gz").read(), np.uint8, offset=header)


class Stopwatch:
    """Started when the data is ready; told of the end of each epoch."""

    def __init__(self) -> None:
        self.began = self.previous = time.perf_counter()
        self.epochs: list[float] = []

    def epoch_ended(self) -> None:
        now = time.perf_counter()
        self.epochs.append(now - self.previous)
        self.previous = now

    def report(self, predict) -> None:
        """Prints the figures.

        Args:
            predict: () → test accuracy; called after the clock and the memory were read.
        """
        figures = {
            "fit": time.perf_counter() - self.began,
            "first": self.epochs[0],
            "later": float(np.median(self.epochs[1:] or self.epochs)),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "accuracy": float(predict()),
        }
        print(json.dumps(figures))

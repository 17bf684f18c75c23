"""Several processes as hosts: an epoch of the default job against one's, and how a loss ends.

uv run python tests/bench/hosts.py
"""

import csv
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import hosts
import kill
from program import mlp_job, version_folder

OPTIONS = ("--no-xla", "--device=cpu", "--name=c", "--run-id=run")
LOSSES = {
    "killed": signal.SIGKILL,
    "stopped": signal.SIGSTOP,
    "its main thread stopped": None,
    "terminated": signal.SIGTERM,
}


def numbers(store: Path) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float32]]]:
    """Losses and accuracies of each epoch, and weights."""
    folder, _ = version_folder(store, "c")
    with (folder / "history.csv").open() as lines:
        epochs = [
            [float(value) for name, value in epoch.items() if name not in ("epoch", "seconds")]
            for epoch in csv.DictReader(lines)
        ]
    found = kill.published_weights((folder / "model.keras").read_bytes())
    weights = {
        name: np.frombuffer(body, np.float32) for name, body in found.items() if len(body) > 8
    }
    return np.array(epochs), weights


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = folder / "1"
        mlp_job("train", *OPTIONS, "--epochs=1", "--store", alone).check_returncode()
        history, weights = numbers(alone)
        for count in (2, 3):
            store = folder / str(count)
            ends = hosts.train(count, folder, *OPTIONS, "--epochs=1", "--store", store)
            assert not any(end.code for end in ends), ends
            theirs, others = numbers(store)
            off = max(float(abs(others[name] - weights[name]).max()) for name in weights)
            print(f"{count} hosts: history {abs(theirs - history).max():.1e}, weights {off:.1e}")
        for at, (what, number) in enumerate(LOSSES.items()):
            lost = hosts.Signal(worker=1, number=number, event="epoch.ended")
            store = folder / f"lost-{at}"
            ends = hosts.train(2, folder, *OPTIONS, "--epochs=99", "--store", store, kill=lost)
            seconds = max(end.seconds for end in ends[: 1 if what == "stopped" else 2])
            print(f"worker 1 {what}: {[e.code for e in ends]} after {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()

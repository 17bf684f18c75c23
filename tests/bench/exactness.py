"""What exactness costs: op determinism on and off, XLA on and off, and a checkpoint. MNIST, CPU.

`python tests/bench/exactness.py ROUNDS`: fresh processes in turns; seconds of an epoch, medians.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIANTS = {
    "XLA": (1, 0),
    "XLA, deterministic": (1, 1),
    "graph": (0, 0),
    "graph, deterministic": (0, 1),
}


def one(xla: bool, deterministic: bool) -> dict[str, float]:
    from job import data, device, training
    from job.config import Config
    from job.models import mlp
    from job.storage import open_store
    from job.training.checkpoint import Checkpoints

    config = Config.of(epochs=4, xla=xla)
    device.prepare("cpu")
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    with tempfile.TemporaryDirectory() as folder:
        dataset = data.load("mnist", test_uri=None, validation_split=0.2, scratch=Path(folder))
        net = mlp.build(config, dataset)
        states = []
        fitted = training.fit(net, dataset, config, save=states.append)
        kept = Checkpoints(
            open_store(folder), "m/runs/r", spare=open_store(folder + "/s"), run_id="r",
            fingerprint="f", environment={}, every=None,
        )  # fmt: skip
        began = time.perf_counter()
        for _ in range(5):
            kept.save(states[-1])
        saving = (time.perf_counter() - began) / 5
    return {
        "epoch": statistics.median(result.seconds for result in fitted.history[1:]),
        "compile": fitted.trace_seconds + fitted.compile_seconds,
        "checkpoint": saving,
    }


def main(rounds: int) -> None:
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, (xla, deterministic) in VARIANTS.items():
            done = subprocess.run(
                [sys.executable, __file__, "one", str(xla), str(deterministic)],
                stdout=subprocess.PIPE, check=True, text=True,
            )  # fmt: skip
            seen[name].append(json.loads(done.stdout.splitlines()[-1]))
    for name, runs in seen.items():
        medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        ratio = statistics.median(
            run["epoch"] / base["epoch"] for run, base in zip(runs, seen["XLA"], strict=True)
        )
        print(f"{name:22} {ratio:5.2f}", {key: round(value, 3) for key, value in medians.items()})


if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(json.dumps(one(bool(int(sys.argv[2])), bool(int(sys.argv[3])))))
    else:
        main(int(sys.argv[1]))

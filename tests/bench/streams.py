"""Streaming beside memory: rows a second, memory of its own, and the pass in over a bare scan.

    uv run python tests/bench/streams.py --rows 5000000 --work /var/tmp/bench

Data is generated: tables of 20 columns, and images of 28 × 28. Every figure is of a fresh process;
figures that are compared come in turns, and a ratio is the median of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, BLOCK = 20, 250_000

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the large table")
    parser.add_argument("--trained", type=int, default=500_000, help="rows of what is trained on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/bench-streams"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, path, feed = options.one
        print(json.dumps(ONE[what](Path(path), feed)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    print("| training rows a second | memory | stream | ratio |\n|---|---|---|---|")
    for name in ("table.parquet", "images.npz"):
        path = made(options.work / f"{options.trained}-{name}", options.trained)
        compared("train", path, ("memory", "stream"), options.rounds, "rows_per_second", name)
    print("\n| pass in, rows a second | bare scan | pass in | ratio |\n|---|---|---|---|")
    for name in ("table.parquet", "table.csv"):
        path = made(options.work / f"{options.trained}-{name}", options.trained)
        compared("read", path, ("scan", "stream"), options.rounds, "rows_per_second", name)
    print("\n| rows | read s | peak of anonymous memory, MiB: reading | training | whole run s |")
    print("|---|---|---|---|---|")
    for rows in (options.rows // 4, options.rows):
        path = made(options.work / f"{rows}-table.parquet", rows)
        read, run = figures("read", path, "stream"), figures("train", path, "stream")
        print(
            f"| {rows:,} | {read['seconds']:.0f} | {read['peak']:.0f} | {run['peak']:.0f} "
            f"| {run['seconds']:.0f} |"
        )


def compared(
    what: str, path: Path, feeds: tuple[str, str], rounds: int, key: str, name: str
) -> None:
    """A row of a table: the medians of both, and of their ratio."""
    pairs = [[figures(what, path, feed)[key] for feed in feeds] for _ in range(rounds)]
    first, second = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(other / one for one, other in pairs)
    print(f"| {name} | {first:,.0f} | {second:,.0f} | {ratio:.2f} |", flush=True)


def figures(what: str, path: Path, feed: str) -> Figures:
    """Those of one fresh process."""
    command = [sys.executable, __file__, "--one", what, str(path), feed]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def made(path: Path, rows: int) -> Path:
    """Generates a data set, unless it is there."""
    if path.exists():
        return path
    if path.suffix == ".npz":
        rng = np.random.default_rng(0)
        y = rng.integers(0, 10, rows).astype(np.uint8)
        x = rng.integers(0, 255, (rows, 28, 28), np.uint8)
        x[:, :5] = y[:, None, None] * 20
        np.savez(path, x_train=x, y_train=y, x_test=x[:1000], y_test=y[:1000])
        return path
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    writer: Any = None
    for begin in range(0, rows, BLOCK):
        count, rng = min(BLOCK, rows - begin), np.random.default_rng(begin)
        x = rng.normal(size=(count, COLUMNS - 2)).astype(np.float32)
        noise = rng.normal(size=count)
        table = pa.table(
            {
                **{f"x{i}": x[:, i] for i in range(COLUMNS - 2)},
                "colour": rng.choice(["red", "green", "blue"], count),
                "many": rng.integers(0, 1000, count),
                "y": np.where(x[:, 0] + x[:, 1] + noise > 0, "yes", "no"),
            }
        )
        if path.suffix == ".csv":
            writer = writer or pyarrow.csv.CSVWriter(path, table.schema)
        else:
            writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    writer.close()
    return path


def train(path: Path, feed: str) -> Figures:
    """The whole of training: rows a second of the epochs after the first."""
    from job import device, models, training
    from job.config import Config

    peak, began = Peak(), time.perf_counter()
    table = path.suffix != ".npz"
    settings: dict[str, Any] = {"epochs": 3, "feed": feed, "name": "bench", "model": "mlp"}
    if table:
        settings |= {"label": "y", "batch_size": 1000, "hidden": (64, 32)}
    config = Config.of(data=str(path), **settings)
    dataset = loaded(path, config.data)
    device.prepare("cpu")
    device.release_memory()
    peak.reset()
    network = models.build(config, dataset)
    fitted = training.fit(network, dataset, config)
    return {
        "rows_per_second": fitted.rows_per_second,
        "peak": peak.mib,
        "seconds": time.perf_counter() - began,
    }


def read(path: Path, feed: str) -> Figures:
    """The pass in, or pyarrow's bare scan of all columns."""
    from job.config import DataOptions

    peak, began = Peak(), time.perf_counter()
    if feed == "scan":
        rows = scanned(path)
    else:
        dataset = loaded(path, DataOptions(data=str(path), label="y", feed=feed))
        rows = len(dataset.train) + len(dataset.test)
    seconds = time.perf_counter() - began
    return {"rows_per_second": rows / seconds, "peak": peak.mib, "seconds": seconds}


def loaded(path: Path, reading: Any) -> Any:
    from job import data

    return data.load(
        str(path), test_uri=None, validation_split=0.2, scratch=path.parent, reading=reading
    )


def scanned(path: Path) -> int:
    """The rows that pyarrow reads block by block and drops."""
    from pyarrow import csv, parquet

    if path.suffix == ".csv":
        return sum(batch.num_rows for batch in csv.open_csv(path))
    return sum(batch.num_rows for batch in parquet.ParquetFile(path).iter_batches())


class Peak(threading.Thread):
    """The most anonymous memory of this process, looked at again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0
        self.start()

    def reset(self) -> None:
        self.mib = 0.0

    def run(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            line = next(each for each in status.splitlines() if each.startswith("RssAnon"))
            self.mib = max(self.mib, int(line.split()[1]) / 1024)
            time.sleep(0.01)


ONE: dict[str, Callable[[Path, str], Figures]] = {"train": train, "read": read}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()

"""Reading a table beside pyarrow's bare scan of the file: `python -m tests.bench.reading`.

The table is made up: 10 columns of fractions, 4 of whole numbers, 5 of text with 3 to 75 values,
and the label. Reading ends with rows that are ready to train on: typed, split, encoded, hashed.
Both are timed in turns in one process each round; peak memory is that of a process that reads once.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FORMATS = ("csv", "parquet")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.rows)
        print("| | bare scan s | read s | ratio | peak MB |\n|---|---|---|---|---|")
        for form in FORMATS:
            rounds = [fresh(folder, form, "both") for _ in range(options.rounds)]
            peak = fresh(folder, form, "ours")["peak"]
            bare, ours = (statistics.median(each[key] for each in rounds) for key in BOTH)
            ratio = statistics.median(each["ours"] / each["bare"] for each in rounds)
            print(f"| {form} | {bare:.2f} | {ours:.2f} | {ratio:.1f} | {peak:,.0f} |")


BOTH = ("bare", "ours")


def make(folder: Path, count: int) -> None:
    """Writes the table in every format."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(0)
    columns = {f"fraction {i}": np.round(rng.normal(size=count) * 100, 4) for i in range(10)}
    columns |= {f"whole {i}": rng.integers(0, 10 ** (i + 2), count) for i in range(4)}
    for i in range(5):
        names = np.array([f"value {k}" for k in range(3 * (i + 1) ** 2)])
        columns[f"text {i}"] = names[rng.integers(0, len(names), count)]
    columns["y"] = np.where(columns["fraction 0"] + columns["fraction 1"] > 0, "yes", "no")
    table = pa.table(columns)
    csv.write_csv(table, folder / "t.csv")
    parquet.write_table(table, folder / "t.parquet")


def fresh(folder: str, form: str, what: str) -> dict[str, float]:
    """The figures of a fresh process."""
    command = [sys.executable, "-m", "tests.bench.reading", "--child", f"{folder}/t.{form}", what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def child(path: str, what: str) -> dict[str, float]:
    """Seconds of both, the second time each, or the peak of one reading."""
    from pyarrow import csv, parquet

    from job import data
    from job.config.data import DataOptions

    def bare() -> object:
        return csv.read_csv(path) if path.endswith("csv") else parquet.read_table(path)

    def ours() -> object:
        return data.load(
            path,
            test_uri=None,
            validation_split=0.2,
            scratch=Path(path).parent,
            reading=DataOptions(label="y"),
        )

    figures: dict[str, float] = {}
    for name, read in (("bare", bare), ("ours", ours)) if what == "both" else ():
        read()
        start = time.perf_counter()
        read()
        figures[name] = time.perf_counter() - start
    if what != "both":
        ours()
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return figures


if __name__ == "__main__":
    main()

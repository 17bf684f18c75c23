"""This job beside gradient boosting on real tables, all with default options.

    uv run python tests/bench/tables.py FOLDER --work /var/tmp/bench [--splits 5] [--only glass]

FOLDER holds .csv.gz files and `tables.json`, which names the label and the rows of each; the
smallest comes first. A split is three quarters of the rows for training, stratified, by its number
as the seed; every program reads the same two CSV files. The peers run in throwaway environments of
uv, one after the other. Figures are kept in the work folder, so that a run that was ended goes on,
and `--print` shows what is there; a split counts when this job and both boosters have it.
"""

import argparse
import csv
import gzip
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from sklearn.model_selection import train_test_split

PEERS = {
    "hist": ("scikit-learn==1.9.1", "pandas==3.1.1"),
    "catboost": ("catboost==1.2.10", "pandas==3.1.1"),
    "tabm": ("pytabkit[models]==1.7.3",),
    "realmlp": ("pytabkit[models]==1.7.3",),
}
"""Program → the packages that it takes."""
NAMES = {
    "job": "mlp-job", "hist": "HistGradientBoosting", "catboost": "CatBoost", "tabm": "TabM",
    "realmlp": "RealMLP",
}  # fmt: skip
ALWAYS = ("job", "hist", "catboost")
ENOUGH = 100
"""Boosting's errors over all splits from which a table's ratio counts as the worst."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first split")
    parser.add_argument("--only", nargs="*", help="tables, by name")
    parser.add_argument("--with", nargs="*", dest="programs", default=list(ALWAYS))
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu", help="of this job")
    parser.add_argument("--print", action="store_true", help="run nothing; print what is there")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tables = json.loads((options.folder / "tables.json").read_text())
    labels = {
        file.split(".")[0]: (file, about["label"])
        for file, about in sorted(tables.items(), key=lambda each: each[1]["rows"])
    }
    for split in range(options.first, options.first + options.splits):
        for name in options.only or labels if not options.print else ():
            file, label = labels[name]
            parts = write_split(options.folder / file, label, split, options.work)
            for program in options.programs:
                figures(program, name, split, parts, label, options)
    print_tables(options.work, labels)


def write_split(file: Path, label: str, split: int, work: Path) -> tuple[Path, Path]:
    """The two CSV files of a split."""
    name = file.name.split(".")[0]
    parts = tuple(work / f"{name}-{split}-{part}.csv" for part in ("train", "test"))
    if not all(part.exists() for part in parts):
        with gzip.open(file, "rt", newline="", encoding="utf-8") as stream:
            header, *rows = csv.reader(stream)
        at = header.index(label)
        sides = train_test_split(
            rows, test_size=0.25, random_state=split, stratify=[row[at] for row in rows]
        )
        for part, side in zip(parts, sides, strict=True):
            with part.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows([header, *side])
    return parts


def figures(
    program: str,
    table: str,
    split: int,
    parts: tuple[Path, Path],
    label: str,
    options: argparse.Namespace,
) -> dict[str, float]:
    kept: Path = options.work / f"{program}-{table}-{split}.json"
    if not kept.exists():
        print(f"{program} on {table}, split {split}", file=sys.stderr, flush=True)
        if program == "job":
            found = ours(parts, label, options.work, options.device)
        else:
            found = theirs(program, parts, label)
        kept.write_text(json.dumps(found))
    return json.loads(kept.read_text())


def theirs(program: str, parts: tuple[Path, Path], label: str) -> dict[str, float]:
    packages = [f"--with={package}" for package in PEERS[program]]
    script = Path(__file__).parent / "peers" / "table.py"
    command = ["uv", "run", "--isolated", "--no-project", "--python=3.11", *packages, "python"]
    done = subprocess.run(
        [*command, script, program, *parts, label], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def ours(parts: tuple[Path, Path], label: str, work: Path, device: str) -> dict[str, float]:
    """The whole command into an empty store."""
    store = work / f"{parts[0].stem}-store"
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "job", "train", f"--device={device}", f"--label={label}"]
    command += ["--rejection-ok"]  # a class that is never found ends the job with an error
    command += [f"--data={parts[0]}", f"--test-data={parts[1]}", "--name=bench"]
    began, used = time.perf_counter(), os.times().children_user + os.times().children_system
    done = subprocess.run([*command, f"--store={store}"], capture_output=True, text=True)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])
    seconds = time.perf_counter() - began
    cpu = os.times().children_user + os.times().children_system - used
    (path,) = store.glob("bench/versions/1/*/metrics.json")
    metrics = json.loads(path.read_text())
    shutil.rmtree(store)
    return {
        "errors": round((1 - metrics["accuracy"]) * metrics["rows"]),
        "rows": metrics["rows"],
        "loss": metrics["loss"],
        "seconds": seconds,
        "cpu_seconds": cpu,
        "validation_loss": metrics["validation"]["loss"],
    }


def print_tables(work: Path, tables: dict[str, tuple[str, str]]) -> None:
    found = {
        (program, table): {
            int(path.stem.rsplit("-", 1)[1]): json.loads(path.read_text())
            for path in sorted(work.glob(f"{program}-{table}-?.json"))
        }
        for program in NAMES
        for table in tables
    }
    shown = [each for each in NAMES if any(found[each, table] for table in tables)]
    print("| table | splits | rows tested | " + " | ".join(NAMES[each] for each in shown) + " |")
    print("|---" * (3 + len(shown)) + "|")
    errors: dict[str, list[float]] = {each: [] for each in shown}
    losses: dict[str, list[float]] = {each: [] for each in shown}
    good, worst, honest = [], (0.0, ""), []
    for table in tables:
        splits = sorted(set.intersection(*(set(found[each, table]) for each in ALWAYS)))
        if not splits:
            continue
        rows = found["job", table][splits[0]]["rows"]
        cells = [cell([found[e, table][s] for s in splits if s in found[e, table]]) for e in shown]
        print(f"| {table} | {len(splits)} | {rows:,} | " + " | ".join(cells) + " |")
        for peer in shown:
            both = [s for s in splits if s in found[peer, table]]
            if peer == "job" or not both:
                continue
            ours, its = ([found[each, table][s] for s in both] for each in ("job", peer))
            errors[peer].append((total(ours, "errors") + 0.5) / (total(its, "errors") + 0.5))
            losses[peer].append(total(ours, "loss") / total(its, "loss"))
        ours, its = ([found[each, table][s] for s in splits] for each in ("job", "hist"))
        count = total(its, "errors")
        spread = math.sqrt(count * (1 - count / (rows * len(splits))))
        good.append(total(ours, "errors") <= count + spread)
        if count >= ENOUGH:
            worst = max(worst, (errors["hist"][-1], table))
        if count:  # else both are about zero
            honest.append(total(ours, "validation_loss") / total(ours, "loss"))
    if not good:
        print(f"\nNo split has figures of all three, {', '.join(NAMES[each] for each in ALWAYS)}.")
        return
    print(
        "\n| geometric mean of the ratio to | tables | errors + ½ | log loss |\n|---|---|---|---|"
    )
    for peer in shown[1:]:
        ratios = f"{mean(errors[peer]):.3f} | {mean(losses[peer]):.3f}"
        print(f"| {NAMES[peer]} | {len(errors[peer])} | {ratios} |")
    print(
        f"\nAt least as good as {NAMES['hist']}, within one standard error: {sum(good)} of "
        f"{len(good)} tables. Worst with {ENOUGH} of its errors or more: {worst[1]}, "
        f"{worst[0]:.2f}. Reported validation loss to test loss, geometric mean: "
        f"{mean(honest):.3f}."
    )


def total(runs: list[dict[str, float]], name: str) -> float:
    return sum(run[name] for run in runs)


def cell(runs: list[dict[str, float]]) -> str:
    """Mean and deviation of the accuracy, loss, seconds; a dash where nothing was run."""
    if not runs:
        return "–"
    accuracy = [1 - run["errors"] / run["rows"] for run in runs]
    spread = f" ± {statistics.stdev(accuracy):.4f}" if len(runs) > 1 else ""
    loss, seconds = (statistics.mean(run[name] for run in runs) for name in ("loss", "seconds"))
    return f"{statistics.mean(accuracy):.4f}{spread} / {loss:.3f} / {seconds:.0f} s"


def mean(ratios: list[float]) -> float:
    """Geometric."""
    return math.exp(statistics.mean(map(math.log, ratios)))


if __name__ == "__main__":
    main()

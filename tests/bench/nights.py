"""Ordinary nights on real tables, through the real command: how many the gate promotes.

    uv run python tests/bench/nights.py FOLDER --work /tmp/nights [--only telco hr] [--model=mlp]

FOLDER holds .csv.gz files and `tables.json`, which names the label of each. The rows are put into
one order by a fixed seed. The first night sees so many that each of the next ones sees 5 % more, as
a table grows, and the last one all; then nights follow on all rows with other seeds. None should
be rejected. The last night's training labels are shuffled for 30 % of the rows of the file, and it
should be. Each table has its own store in the work folder, which is emptied first.
"""

import argparse
import csv
import gzip
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

SHUFFLED = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="tables, by name")
    parser.add_argument("--nights", type=int, default=5, help="on 5 % more rows each")
    parser.add_argument("--seeds", type=int, default=3, help="nights with another seed each")
    given, options = parser.parse_known_args()  # the rest are options of the command
    tables = json.loads((given.folder / "tables.json").read_text())
    print("| table | nights | promoted | not promoted, and why | 30 % shuffled |")
    print("|" + "---|" * 5)
    for file, about in tables.items():
        name = file.split(".")[0]
        if given.only and name not in given.only:
            continue
        work = given.work / name
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        header, rows = shuffled_rows(given.folder / file)
        ends = [round(len(rows) / 1.05**left) for left in reversed(range(given.nights))]
        ends += [len(rows)] * given.seeds
        said = []
        for seed, end in enumerate(ends):
            write(work / "table.csv", header, rows[:end])
            said.append(night(work, about["label"], seed, options))
        at = header.index(about["label"])
        write(work / "table.csv", header, with_wrong_labels(rows, at))
        spoiled = night(work, about["label"], len(ends), options)
        why = "; ".join(each for each in said[1:] if each)
        passed = sum(not each for each in said[1:])
        kept = "rejected" if spoiled else "promoted"
        print(f"| {name} | {len(said) - 1} | {passed} | {why} | {kept} |", flush=True)


def shuffled_rows(file: Path) -> tuple[list[str], list[list[str]]]:
    with gzip.open(file, "rt", newline="", encoding="utf-8") as stream:
        header, *rows = csv.reader(stream)
    random.Random(0).shuffle(rows)
    return header, rows


def with_wrong_labels(rows: list[list[str]], at: int) -> list[list[str]]:
    chance = random.Random(1)
    chosen = [i for i in range(len(rows)) if chance.random() < SHUFFLED]
    labels = [rows[i][at] for i in chosen]
    chance.shuffle(labels)
    found = list(rows)
    for i, label in zip(chosen, labels, strict=True):
        found[i] = [*rows[i][:at], label, *rows[i][at + 1 :]]
    return found


def write(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def night(work: Path, label: str, seed: int, options: list[str]) -> str:
    """Why the night's model was not promoted; empty when it was."""
    note = work / "end"
    command = [sys.executable, "-m", "job", "train", "--device=cpu", f"--label={label}"]
    command += [f"--data={work / 'table.csv'}", f"--store={work / 'store'}", "--name=nights"]
    command += [f"--seed={seed}", f"--termination-log={note}", "--rejection-ok", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit((done.stdout + done.stderr)[-3000:])
    said = json.loads(note.read_text())
    print(f"{work.name}, seed {seed}: {said['outcome']}", file=sys.stderr, flush=True)
    return "" if said["outcome"] == "promoted" else " ".join(said["reasons"])


if __name__ == "__main__":
    main()

"""Three weeks of nights through the real command, against a real S3 server."""

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from program import PROGRAM, mlp_job
from registries import Registry

from job.storage import open_store

OPTIONS = ("--epochs=4", "--hidden=16", "--batch-size=20", "--learning-rate=0.01")
OPTIONS += ("--device=cpu", "--no-xla", "--name=corners", "--min-accuracy=0.4")
TEST_ROWS = 6000


def corners(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with one corner a little brighter: the best there is names 96 % of them."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 4, rows)
    x = random.integers(0, 120, (rows, 8, 8)).astype(np.uint8)
    for image, label in zip(x, y, strict=True):
        top, left = label // 2 * 4, label % 2 * 4
        image[top : top + 4, left : left + 4] += 28
    return x, y


class Nights:
    """A store, the data of the day, and the command that runs every night.

    Args:
        store: Where models are published.
        folder: Where the data of the day lies.
    """

    def __init__(self, store: str, folder: Path):
        self.store = store
        self.data = folder / "today.npz"
        self.note = folder / "termination"
        self.registry = Registry(open_store(store), "corners")

    def new_data(self, rows: int, *, wrong: float = 0.0, labels: str = "nsew") -> None:
        """Other training rows, of which a share is labelled by chance; always the same test."""
        (x, y), (x_test, y_test) = corners(rows, rows), corners(TEST_ROWS, 1)
        random, names = np.random.default_rng(rows), np.array(list(labels))
        y = np.where(random.random(rows) < wrong, random.integers(0, 4, rows), y)
        arrays = {"x_train": x, "y_train": names[y], "x_test": x_test, "y_test": names[y_test]}
        np.savez(self.data, **arrays)

    def start(self, *options: str) -> subprocess.Popen:
        command = [PROGRAM, "train", *OPTIONS, "--data", self.data, "--store", self.store, *options]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )

    def night(self, *options: str) -> tuple[int, str]:
        """One run of the scheduled job; its exit code and its outcome."""
        process = self.start("--skip-unchanged", "--termination-log", str(self.note), *options)
        log, errors = process.communicate(timeout=240)
        said = json.loads(self.note.read_text())
        assert process.returncode == said["exit_code"], log + errors
        print(f"night: {said}")
        return process.returncode, said["outcome"]

    def command(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PROGRAM, *words, "--store", self.store, "--name", "corners"],
            capture_output=True, text=True, timeout=240, env=os.environ, check=False,
        )  # fmt: skip

    def champion(self) -> int:
        """Who reigns; whole, and no worse than the margin below whoever reigned rightly."""
        champion = self.registry.champion()
        assert self.registry.verify("champion").damaged == ()
        undone = {move.before for move in champion.history if move.command == "rollback"}
        reigned = {move.after for move in champion.history} - undone
        accuracy = {v: self.registry.resolve(str(v)).metrics.accuracy for v in reigned}
        assert accuracy[champion.version] > max(accuracy.values()) - 0.005
        return champion.version

    def newest(self) -> int:
        return self.registry.resolve("latest").version


@pytest.mark.timeout(1200)
def test_three_weeks(s3_uri: str, tmp_path: Path) -> None:
    nights = Nights(s3_uri, tmp_path)
    nights.new_data(100)
    assert nights.night() == (0, "promoted")
    assert nights.champion() == 1

    for _ in range(3):  # nothing new
        assert nights.night() == (0, "skipped")
    assert nights.newest() == nights.champion() == 1

    nights.new_data(900)  # more to learn from
    assert nights.night() == (0, "promoted")
    assert nights.champion() == 2

    nights.new_data(60)  # less to learn from
    assert nights.night() == (3, "rejected")
    assert nights.night() == (0, "skipped")
    assert (nights.champion(), nights.newest()) == (2, 3)
    verdict = nights.registry.resolve("3").verdict
    assert verdict.champion == 2
    assert [(c.version, c.role, c.passed) for c in verdict.comparisons] == [
        (2, "champion", False), (1, "best", verdict.comparisons[1].passed),
    ]  # fmt: skip

    nights.new_data(901, wrong=0.7)  # poisoned
    assert nights.night() == (3, "rejected")
    assert nights.night() == (0, "skipped")
    assert nights.champion() == 2

    whole = nights.data.read_bytes()
    nights.data.write_bytes(whole[:-1000])  # torn
    assert nights.night() == (65, "failed")
    assert (nights.champion(), nights.newest()) == (2, 4)

    nights.new_data(1800)
    killed = nights.start("--skip-unchanged", "--run-id=night-9")
    for line in killed.stdout:
        if json.loads(line)["event.name"] == "epoch.ended":
            break
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert (nights.champion(), nights.newest()) == (2, 4)
    assert nights.night("--run-id=night-9") == (0, "promoted")
    good = nights.champion()
    assert nights.night() == (0, "skipped")

    nights.new_data(6000)  # two jobs for one tick
    both = [nights.start("--skip-unchanged", f"--run-id=tick-{i}") for i in (1, 2)]
    ends = [process.communicate(timeout=240) for process in both]
    assert {process.returncode for process in both} <= {0, 3}, ends
    assert nights.champion() == nights.newest()
    moves = nights.registry.champion().history
    assert [move.after for move in moves] == sorted({move.after for move in moves})

    done = nights.command("rollback", "--reason", "the shop complains")
    assert done.returncode == 0, done.stderr
    while nights.champion() != good:  # both of the tick reigned for a moment
        assert nights.command("rollback").returncode == 0
    assert nights.night() == (0, "skipped")
    assert nights.night("--no-skip-unchanged") == (3, "rejected")  # the same once more
    assert "was rolled back" in json.loads(nights.note.read_text())["message"]
    assert nights.champion() == good

    for night in range(3):  # a little worse each time
        nights.new_data(1500 - 100 * night, wrong=0.05 * night)
        assert nights.night()[0] in (0, 3)
        nights.champion()

    assert nights.night() == (0, "skipped")
    reigning = nights.champion()
    nights.new_data(1800, labels="abcd")  # not comparable
    assert nights.night() == (3, "rejected")
    said = json.loads(nights.note.read_text())
    assert "Not comparable with the champion" in said["message"]
    assert f"mlp-job promote {nights.newest()}" in said["hint"]
    assert nights.champion() == reigning
    assert nights.command("promote", "latest").returncode == 0
    assert nights.registry.champion().version == nights.newest()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("name", "share"), [("breast_cancer", 0.4), ("wine", 0.8)])
def test_ordinary_nights_of_a_small_table(tmp_path: Path, name: str, share: float) -> None:
    """40 to 110 test rows: 5 % more rows, or another seed, is no reason to reject a model."""
    load = getattr(sklearn.datasets, f"load_{name}")
    table = load(as_frame=True).frame.sample(frac=1, random_state=0)
    note, end = tmp_path / "end", len(table)

    def night(rows: int, seed: int, wrong: float = 0.0) -> dict:
        tonight = table[:rows].copy()
        chosen = np.random.default_rng(seed).random(rows) < wrong
        mixed = np.random.default_rng(seed).permutation(tonight["target"].to_numpy()[chosen])
        tonight.loc[chosen, "target"] = mixed
        tonight.to_csv(tmp_path / "tonight.csv", index=False)
        done = mlp_job(
            "train", "--data", tmp_path / "tonight.csv", "--label=target", "--name=cells",
            "--store", tmp_path / "store", "--model=mlp", "--epochs=15", "--batch-size=25",
            "--device=cpu", "--no-xla", "--seed", seed, "--termination-log", note,
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stdout + done.stderr
        return json.loads(note.read_text())

    for seed, rows in enumerate([round(end / 1.05**left) for left in (3, 2, 1, 0)] + [end, end]):
        said = night(rows, seed)
        assert said["outcome"] == "promoted", said
    assert night(end, 6, wrong=share)["outcome"] == "rejected"

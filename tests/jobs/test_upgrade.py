"""Two nights on one store: the first by an earlier version of the job, the second by today's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import churn
import numpy as np
import pyarrow.parquet
import pytest
from documents import REPOSITORY
from program import PROGRAM

EARLIER = "3e91395"
"""The last commit whose options, manifests and split had no recipe of their own."""
QUICK = ("--epochs=3", "--batch-size=50", "--device=cpu")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The earlier version's package, unpacked."""
    folder = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(
        ["git", "archive", EARLIER, "job"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"needs the history back to {EARLIER}, and this clone is shallow")
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def earlier_job(package: Path, folder: Path, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "job", *options],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def todays_job(folder: Path, *options: str, accepted: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [PROGRAM, *options], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode in accepted, done.stdout + done.stderr
    return done.stdout


def manifest(folder: Path, name: str, version: int) -> dict:
    return json.loads((folder / f"models/{name}/versions/{version}/manifest.json").read_text())


def test_labels(folder: Path, name: str, version: int) -> list[str]:
    [path] = folder.glob(f"models/{name}/versions/{version}/*/predictions.parquet")
    return pyarrow.parquet.read_table(path)["label"].to_pylist()


test_labels.__test__ = False


def test_a_table_keeps_its_test_rows_and_its_champion(earlier: Path, tmp_path: Path) -> None:
    rows = churn.rows(1000)
    churn.write_csv(tmp_path / "t.csv", rows[:800])
    options = ("--data=t.csv", "--label=churned", "--name=churn", *QUICK)
    earlier_job(earlier, tmp_path, "train", *options, "--run-id=night-1")

    todays_job(tmp_path, "train", *options, "--run-id=night-1")  # a retry after the upgrade
    assert not (tmp_path / "models/churn/versions/2").exists()

    churn.write_csv(tmp_path / "t.csv", rows)
    todays_job(tmp_path, "train", *options, "--run-id=night-2", accepted=(0, 3))
    before, after = (test_labels(tmp_path, "churn", version) for version in (1, 2))
    assert after[: len(before)] == before
    assert len(after) > len(before)
    [comparison] = manifest(tmp_path, "churn", 2)["verdict"]["comparisons"]
    assert (comparison["version"], comparison["rows"]) == (1, len(after))

    for command in (("evaluate", "1"), ("predict", "1", "t.csv", "-o=p.csv"), ("verify", "1")):
        todays_job(tmp_path, *command, "--name=churn")
    assert "night-1" in todays_job(tmp_path, "models", "--name=churn", "--json")


def test_arrays_are_trained_again_to_the_same_bits(earlier: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    x = (rng.normal(0, 1, (600, 6)) + y[:, None]).astype(np.float32)
    np.savez(tmp_path / "a.npz", x_train=x[:500], y_train=y[:500], x_test=x[500:], y_test=y[500:])
    earlier_job(earlier, tmp_path, "train", "--data=a.npz", "--name=a", "--device=cpu")
    result = json.loads(todays_job(tmp_path, "reproduce", "1", "--name=a", "--json"))
    assert result["same_bits"], result
    again = ("train", "--data=a.npz", "--name=a", "--device=cpu")
    todays_job(tmp_path, *again, accepted=(0, 3))
    before, after = (manifest(tmp_path, "a", version) for version in (1, 2))
    assert before["data"]["digest"] == after["data"]["digest"]
    assert before["metrics"]["accuracy"] == after["metrics"]["accuracy"]


def test_a_table_with_values_that_are_read_otherwise_today_is_trained_again(
    earlier: Path, tmp_path: Path
) -> None:
    rows = churn.rows(600)
    for i, row in enumerate(rows):
        row["city"] = "None" if i % 5 == 0 else row["city"]
        row["churned"] = "NA" if i % 11 == 0 else row["churned"] + " " * (i % 13 == 0)
        row["month"] = "Jan-2023" if i % 2 else "Feb-2023"
        row["number"] = str(1_000_000 + 7919 * i)
    churn.write_csv(tmp_path / "t.csv", rows)
    earlier_job(
        earlier, tmp_path, "train", "--data=t.csv", "--label=churned", "--name=churn", *QUICK
    )
    columns = {c["name"]: c for c in manifest(tmp_path, "churn", 1)["schema"]["columns"]}
    assert columns["month"]["kind"] == "category"
    assert "number" in columns
    result = json.loads(todays_job(tmp_path, "reproduce", "1", "--name=churn", "--json"))
    assert result["same_bits"], result
    todays_job(tmp_path, "evaluate", "1", "--name=churn")


@pytest.mark.timeout(600)
def test_the_verdicts_of_an_earlier_store_are_read_and_its_versions_moved(
    earlier: Path, tmp_path: Path
) -> None:
    churn.write_csv(tmp_path / "t.csv", churn.rows(600))
    for night in (1, 2):
        options = ("--data=t.csv", "--label=churned", "--name=churn", *QUICK, "--margin=0.5")
        earlier_job(earlier, tmp_path, "train", *options, f"--seed={night}", f"--run-id=n{night}")
    where = ("--name=churn",)
    old = manifest(tmp_path, "churn", 2)["verdict"]
    assert "holds" not in old
    assert "outcome" not in old["comparisons"][0]

    listed = json.loads(todays_job(tmp_path, "models", *where, "--json"))["models"]["churn"]
    assert [(each["version"], each["fate"]) for each in listed] == [
        (2, "promoted"),
        (1, "promoted"),
    ]
    assert listed[0]["reasons"] == old["reasons"]
    assert {key: listed[0]["comparisons"][0][key] for key in old["comparisons"][0]} == (
        old["comparisons"][0]
    )
    assert listed[0]["comparisons"][0]["outcome"] is None
    assert listed[0]["roc_auc"] is None
    assert "champion" in todays_job(tmp_path, "models", *where)
    sides = json.loads(todays_job(tmp_path, "compare", "1", "champion", *where, "--json"))
    assert sides["run"]["verdict"] == ["promote", "promote"]
    assert "do not promote" not in todays_job(tmp_path, "compare", "1", "2", *where)

    assert todays_job(tmp_path, "rollback", *where) == "champion: 2 → 1\n"
    assert todays_job(tmp_path, "promote", "2", *where) == "champion: 1 → 2\n"
    pointer = json.loads((tmp_path / "models/churn/champion.json").read_text())
    assert [move.get("actor") is None for move in pointer["history"]] == [True, True, False, False]
    again = ("train", "--data=t.csv", "--label=churned", *where, *QUICK, "--seed=3")
    todays_job(tmp_path, *again, accepted=(0, 3))
    sides = json.loads(todays_job(tmp_path, "compare", "2", "3", *where, "--json"))
    assert sides["configuration"]["seed"] == [2, 3]
    assert sides["configuration"]["keep"] == [None, []]
    assert sides["metrics"]["accuracy"][0] == listed[0]["accuracy"]
    assert sides["metrics"]["roc_auc"][0] is None
    new = manifest(tmp_path, "churn", 3)["verdict"]
    assert [each["version"] for each in new["comparisons"]][:1] == [2]
    assert new["comparisons"][0]["outcome"] is not None
    kept = json.loads(todays_job(tmp_path, "prune", "--keep=1", *where, "--json"))["kept"]
    assert "2" in kept

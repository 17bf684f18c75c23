"""models: the table of versions shows the score that ranks them, also beside old versions."""

import dataclasses
from pathlib import Path

from drafts import draft
from program import mlp_job
from registries import Registry

from job.registry.manifest import Draft, Scores
from job.storage import open_store


def scored(run_id: str, **values: float) -> Draft:
    scores = Scores(accuracy=0.9, accuracy_interval=(0.88, 0.92), loss=0.3, **values)
    return dataclasses.replace(draft(run_id), metrics=scores)


def shown(store: Path) -> list[list[str]]:
    """The cells of the table, without its title and rule."""
    done = mlp_job("models", "--store", store)
    assert done.returncode == 0, done.stderr
    return [line.split("  ") for line in done.stdout.splitlines() if "  " in line.strip()]


def cells(line: list[str]) -> list[str]:
    return [cell.strip() for cell in line if cell.strip()]


def test_the_metric_that_ranks_is_a_column(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "model.keras").write_bytes(b"weights")
    registry = Registry(open_store(str(tmp_path / "store")), "churn")
    registry.publish(files, draft("old"))  # of a time without the metric
    for run, value in (("run-1", 0.70), ("run-2", 0.75)):
        made = dataclasses.replace(scored(run, balanced_accuracy=value), metric="balanced_accuracy")
        registry.publish(files, made)
    head, *rows = (cells(line) for line in shown(tmp_path / "store"))
    assert head[:4] == ["version", "age", "balanced accuracy", "accuracy"]
    by_version = {row[0]: row for row in rows}
    assert by_version["3"][2:4] == ["0.7500", "0.9000"]
    assert by_version["2"][2] == "0.7000"
    assert "-5.00" in by_version["2"]
    assert by_version["1"][2] == "–"


def test_accuracy_is_shown_once(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "model.keras").write_bytes(b"weights")
    registry = Registry(open_store(str(tmp_path / "store")), "churn")
    registry.publish(files, dataclasses.replace(scored("run-1"), metric="accuracy"))
    head, row = (cells(line) for line in shown(tmp_path / "store"))
    assert head.count("accuracy") == 1
    assert row[2] == "0.9000"

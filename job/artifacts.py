"""The data files of a version: config.json, metrics.json, history.csv, predictions.parquet."""

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from job.config import Config
from job.data.dataset import Classes
from job.evaluation import Metrics

if TYPE_CHECKING:
    from job.training import EpochResult

SCHEMA_VERSION = 1


def write_config(folder: Path, config: Config, classes: Classes) -> None:
    """config.json: every option's value, and the classes in the order of the model's outputs."""
    _write_json(folder / "config.json", {**dataclasses.asdict(config), "classes": list(classes)})


def write_metrics(folder: Path, metrics: Metrics, about: Mapping[str, object]) -> None:
    """metrics.json: the scores, and what is known about the run besides.

    Args:
        folder: Where the file goes.
        metrics: The scores on the test set.
        about: seconds for each phase, rows_per_second, peak_memory_mb, device (JSON values).
    """
    _write_json(folder / "metrics.json", {**dataclasses.asdict(metrics), **about})


def write_history(folder: Path, history: Sequence["EpochResult"]) -> None:
    """history.csv: one row an epoch; an empty cell where there was no validation."""
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [dataclasses.asdict(result) for result in history]
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_predictions(
    folder: Path, probabilities: NDArray[np.float32], y: NDArray[np.int32], classes: Classes
) -> None:
    """predictions.parquet: for each test row its label, the predicted class and probabilities.

    Args:
        folder: Where the file goes.
        probabilities: (rows, classes), float32.
        y: (rows,), int32; the true classes as indices.
        classes: The labels, in the order of the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = pa.array(classes)
    table = pa.table(
        {
            "row": pa.array(np.arange(len(y))),
            "label": labels.take(pa.array(y)),
            "predicted": labels.take(pa.array(probabilities.argmax(axis=1))),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(probabilities.ravel()), probabilities.shape[1]
            ),
        }
    )
    pq.write_table(table, folder / "predictions.parquet")


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    body = {"schema_version": SCHEMA_VERSION, **content}
    path.write_text(json.dumps(body, indent=2, allow_nan=False) + "\n", encoding="utf-8")

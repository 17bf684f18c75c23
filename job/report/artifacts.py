"""The data files of a version: config.json, metrics.json, history.csv, predictions.parquet."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from job.data.dataset import Dataset
from job.data.place import blocks
from job.inference.predictions import without_clash
from job.record import Record

SCHEMA_VERSION = 1


def write(folder: Path, record: Record) -> None:
    """Writes the four files.

    config.json has every option's value and the classes in the order of the model's outputs;
    metrics.json the scores on the test set and the figures of the run; history.csv one row an
    epoch, with empty cells where there was no validation; predictions.parquet for each test row
    its number, which for a table is that in its file, its label, the predicted class, the
    probabilities, and what it carries: the columns of --keep, and the file of an image, or of a
    table of several files.

    Args:
        folder: Where they go.
        record: The run.
    """
    _write_json(
        folder / "config.json",
        {**record.config.flat(), "classes": list(record.dataset.classes)},
    )
    _write_json(
        folder / "metrics.json",
        {
            **dataclasses.asdict(record.metrics),
            "validation": dataclasses.asdict(record.validation) if record.validation else None,
            "importance": dataclasses.asdict(record.importance) if record.importance else None,
            "verdict": dataclasses.asdict(record.verdict),
            "seconds": dict(record.seconds),
            "rows_per_second": round(record.rows_per_second),
            "peak_memory_mb": round(record.peak_memory_mb),
            "gpu_peak_memory_mb": _rounded(record.gpu_peak_memory_mb),
            "device": record.device.name,
            **({"speedup": dataclasses.asdict(record.speedup)} if record.speedup else {}),
        },
    )
    _write_history(folder / "history.csv", record)
    _write_predictions(folder / "predictions.parquet", record)


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    body = {"schema_version": SCHEMA_VERSION, **content}
    path.write_text(json.dumps(body, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _write_history(path: Path, record: Record) -> None:
    rows = [dataclasses.asdict(result) for result in record.history]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _rows(dataset: Dataset, some: slice) -> dict[str, Any]:
    """The numbers of test rows, from 0, as the report shows them; and their files if several."""
    import pyarrow as pa

    if dataset.table is None:
        return {"row": pa.array(np.arange(some.start, some.stop))}
    source = dataset.table.source
    file, numbers = source.places(some)
    if len(source.files) == 1:
        return {"row": pa.array(numbers)}
    names = pa.array([name for name, _ in source.files])
    return {"row": pa.array(numbers), "file": names.take(pa.array(file))}


def _write_predictions(path: Path, record: Record) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    dataset, labels = record.dataset, pa.array(record.dataset.classes)
    predicted = record.predicted

    def table(some: slice) -> Any:
        said = record.probabilities[some]
        columns = {
            **_rows(dataset, some),
            "label": labels.take(pa.array(dataset.test.y[some])),
            "predicted": labels.take(pa.array(predicted[some])),
            "probabilities": pa.FixedSizeListArray.from_arrays(
                pa.array(said.ravel()), said.shape[1]
            ),
        }
        kept = {name: values[some] for name, values in dataset.kept.items()}
        return pa.table({**columns, **without_clash(kept, columns)})

    first, *rest = blocks(len(predicted))
    with pq.ParquetWriter(path, table(first).schema) as writer:
        for some in (first, *rest):
            writer.write_table(table(some))

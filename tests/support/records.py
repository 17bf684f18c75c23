"""Runs to report on: one of real training on MNIST, and invented ones of any shape."""

import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import churn
import numpy as np

from job import data, evaluation, training
from job.config import OPTIONS, Config
from job.data.dataset import Dataset, Split
from job.device import DeviceInfo
from job.evaluation.importance import importance
from job.evaluation.paired import Answers
from job.evaluation.threshold import Threshold
from job.gate import decision
from job.models import mlp, plan
from job.record import Record
from job.training.state import EpochResult

ABOUT: dict[str, Any] = {
    "device": DeviceInfo(kind="cpu", name="CPU", cores=2),
    "attempt": "pod-1",
    "source": None,
    "exact": None,
    "network": None,
    "rows_per_second": 60_000.0,
    "library_versions": {"mlp-job": "0.1.0", "Keras": "3.15.1", "TensorFlow": "2.21.0"},
    "seconds": {"import": 1.9, "read": 0.1, "run": 4.9, "evaluate": 0.1, "export": 0.4},
    "version": 7,
    "run_id": "20261123-161100-4f2a91",
    "created": datetime(2026, 11, 23, 16, 11, tzinfo=UTC),
    "parameters": 292_810,
    "peak_memory_mb": 612.4,
}

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "| a | b |\n# forged\n[x](javascript:alert(1))",
    "$\\frac{1}{2$ {{ 7*7 }} {% raw %}",
    "\u202eevil\u202c\x00\x1b[31m",
    "שלום עולם",
    "猫と犬 🐈",
    "w" * 5000,
    "#ffffff",
    "",
)
"""Labels that want to be markup, or break a line, a direction or a layout."""


@functools.cache
def real() -> tuple[Any, Record]:
    """A model trained on 6,000 of MNIST's images, and the record of its run; trained once."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = data.load("mnist", test_uri=None, validation_split=0.2, scratch=Path(scratch))
    dataset = dataclasses.replace(
        whole, fit_rows=whole.fit_rows[:6000], validation_rows=whole.validation_rows[:1000]
    )
    config = plan.reference(Config.of(epochs=5, xla=False, min_accuracy=0.9))
    network = mlp.build(config, dataset)
    fitted = training.fit(network, dataset, config)
    probabilities = training.predict(network, dataset.test.x)
    return network, record(
        config=config,
        dataset=dataset,
        probabilities=probabilities,
        history=fitted.history,
        parameters=network.count_params(),
    )


def invented(
    *,
    classes: Sequence[int | str] = ("cat", "dog"),
    shape: tuple[int, ...] = (9,),
    dtype: str = "float32",
    rows: int = 300,
    right: float = 0.8,
    epochs: int = 3,
    validation: int = 20,
    **changes: Any,
) -> Record:
    """A record of random rows of which about the share `right` is named correctly."""
    random = np.random.default_rng(1)
    y = (np.arange(rows) % len(classes)).astype(np.int32)
    said = np.where(random.random(rows) < right, y, random.integers(0, len(classes), rows))
    logits = random.normal(size=(rows, len(classes)))
    logits[np.arange(rows), said] += 6 + random.random(rows) * 6
    powers = np.exp(logits)
    x = random.integers(0, 256, (rows, *shape)).astype(dtype)
    dataset = Dataset(
        uri=changes.pop("uri", "s3://bucket/rows.npz"),
        digest="0" * 64,
        classes=tuple(classes),
        train=Split(x=x, y=y),
        fit_rows=np.arange(rows - min(validation, rows)),
        validation_rows=np.arange(rows - min(validation, rows), rows),
        test=Split(x=x, y=y),
    )
    held_out = len(dataset.validation_rows) > 0
    history = tuple(
        EpochResult(
            epoch=epoch,
            seconds=0.5,
            loss=1 / epoch,
            accuracy=1 - 0.5 / epoch,
            val_loss=1.1 / epoch if held_out else None,
            val_accuracy=1 - 0.6 / epoch if held_out else None,
        )
        for epoch in range(1, epochs + 1)
    )
    return record(
        config=plan.reference(changes.pop("config", Config.of(data=dataset.uri, name="rows"))),
        dataset=dataset,
        probabilities=(powers / powers.sum(axis=1, keepdims=True)).astype(np.float32),
        history=history,
        **changes,
    )


def table(folder: Path, rule: str | None = None, **changes: Any) -> Record:
    """A record of customers who leave, by a model of the fee alone.

    Args:
        folder: Gets the table.
        rule: `--threshold`, as if its value were 0.3.
        changes: Options, by their flat names, and fields of the record.
    """
    uri = str(churn.write_csv(folder / "churn.csv", churn.rows(400)))
    fields = {name: changes.pop(name) for name in list(changes) if name not in OPTIONS}
    options = {"label": "churned", "exclude": ("household",)} | changes
    config = Config.of(
        data=uri, name="churn", model="mlp", hidden=(350, 50), threshold=rule, **options
    )
    dataset = data.load(
        uri, test_uri=None, validation_split=0.2, scratch=folder, reading=config.data
    )
    assert dataset.table

    def predict(x: Any) -> Any:
        array, place = dataset.table.schema.places()["monthly fee"]
        fee = np.nan_to_num(x[array][:, place][:, 0], nan=50)
        stays = 1 / (1 + np.exp((fee - 50) / 10))
        return np.stack([stays, 1 - stays], axis=1).astype(np.float32)

    probabilities = predict(dataset.test.x)
    threshold = Threshold(label="yes", value=0.3, rule=rule) if rule else None
    metric = changes.get("metric", "accuracy")
    return record(
        config=config,
        dataset=dataset,
        probabilities=probabilities,
        history=invented().history,
        threshold=threshold,
        importance=importance(
            predict,
            dataset.test,
            dataset.table.schema,
            probabilities=probabilities,
            classes=dataset.classes,
            metric=metric,
            threshold=threshold,
        ),
        metric=metric,
        **fields,
    )


def record(
    *,
    config: Config,
    dataset: Dataset,
    probabilities: Any,
    history: Any,
    threshold: Threshold | None = None,
    **changes: Any,
) -> Record:
    metrics = evaluation.evaluate(
        probabilities, dataset.test.y, dataset.classes, shares=dataset.shares, threshold=threshold
    )
    losses = [epoch.val_loss or 0.0 for epoch in history]
    return Record(
        **ABOUT
        | {
            "config": config,
            "dataset": dataset,
            "history": history,
            "best_epoch": int(np.argmin(losses)) + 1 if any(losses) else len(history),
            "kept_epoch": len(history),
            "metrics": metrics,
            "probabilities": probabilities,
            "verdict": decision.decide(
                answers=Answers(
                    probabilities=probabilities, predicted=probabilities.argmax(axis=1)
                ),
                y=dataset.test.y,
                recalls={},
                rules=decision.Rules(min_accuracy=config.gate.min_accuracy),
            ),
            "metric": "accuracy",
            "training_auc": 0.9,
        }
        | changes
    )

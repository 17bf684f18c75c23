"""A published model at work: scored on labelled data, or predicting new rows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from job import data as labelled
from job import device, evaluation, events, predictions
from job.data.schema import Schema
from job.evaluation import Metrics
from job.manifest import Manifest
from job.scratch import scratch

if TYPE_CHECKING:
    from job.registry import Registry

BLOCK_ROWS = 8192


def evaluate(
    registry: "Registry", ref: str, *, data: str | None, test_data: str | None
) -> tuple[Manifest, Metrics]:
    """Scores a version on the test rows of a data set.

    Args:
        registry: Where the version is.
        ref: A version number, champion or latest.
        data: The data set; by default the one that the manifest names.
        test_data: Its test set, when `data` does not contain one.

    Raises:
        DataNotFound: No such version or data.
        DataError: A torn file, bad data, or a label that the model does not know.
    """
    manifest = registry.resolve(ref)
    if data is None:
        data, test_data = manifest.data.uri, test_data or manifest.data.test_uri
    with scratch() as folder:
        if manifest.schema:
            return manifest, _evaluate_table(
                registry, manifest, manifest.schema, data, test_data, folder
            )
        test = labelled.load_test(
            data,
            test_uri=test_data,
            classes=manifest.classes,
            shape=manifest.input.shape,
            dtype=manifest.input.dtype,
            scratch=folder,
            reading=labelled.Reading.recorded(manifest.config),
        )
        model = load(registry, manifest, folder)
        blocks = (test.x[i : i + BLOCK_ROWS] for i in range(0, len(test), BLOCK_ROWS))
        probabilities = np.concatenate(list(_probabilities(model, blocks)))
    return manifest, evaluation.evaluate(probabilities, test.y, manifest.classes)


def predict(registry: "Registry", ref: str, rows: str, output: str) -> int:
    """Writes class and probabilities of new rows, block by block.

    Args:
        registry: Where the version is.
        ref: A version number, champion or latest.
        rows: Path or URI of the raw rows.
        output: Path or URI of the result; its ending says the format.

    Returns:
        The number of rows written.

    Raises:
        UsageError: An output format that is not known.
        DataNotFound: No such version or input.
        DataError: Rows that do not fit the model's input.
    """
    predictions.check_format(output)
    manifest = registry.resolve(ref)
    with scratch() as folder:
        if manifest.schema:
            columns = _columns(rows, manifest.schema, folder)
            model = load(registry, manifest, folder)
            return predictions.write(output, _probabilities(model, columns), manifest.classes)
        blocks = labelled.rows(
            rows,
            shape=manifest.input.shape,
            dtype=manifest.input.dtype,
            scratch=folder,
            block_rows=BLOCK_ROWS,
            image_size=labelled.Reading.recorded(manifest.config).image_size,
        )
        model = load(registry, manifest, folder)
        return predictions.write(output, _probabilities(model, blocks), manifest.classes)


def _evaluate_table(
    registry: "Registry",
    manifest: Manifest,
    schema: Schema,
    data: str,
    test_data: str | None,
    folder: Path,
) -> Metrics:
    columns, y, warnings = labelled.load_test_table(
        data,
        test_uri=test_data,
        classes=manifest.classes,
        schema=schema,
        reading=labelled.Reading.recorded(manifest.config),
        scratch=folder,
    )
    for warning in warnings:
        events.data_warned(warning)
    model = load(registry, manifest, folder)
    inputs = schema.inputs()
    blocks = (
        {inputs[name]: values[i : i + BLOCK_ROWS] for name, values in columns.items()}
        for i in range(0, len(y), BLOCK_ROWS)
    )
    probabilities = np.concatenate(list(_probabilities(model, blocks)))
    return evaluation.evaluate(probabilities, y, manifest.classes)


def _columns(uri: str, schema: Schema, folder: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The blocks of a table; what is not as in training is told once."""
    told: set[str] = set()
    inputs = schema.inputs()
    for columns, warnings in labelled.table_rows(uri, schema, folder):
        for warning in warnings:
            if warning.partition(":")[0] not in told:
                events.data_warned(warning)
        told |= {warning.partition(":")[0] for warning in warnings}
        yield {inputs[name]: values for name, values in columns.items()}


def load(registry: "Registry", manifest: Manifest, folder: Path) -> Any:
    """Downloads a version's model, checks its hash and loads it in Keras's safe mode.

    It works on the CPU, so that a version can be scored wherever its store can be read.
    """
    name = f"{manifest.attempt}/model.keras"
    registry.fetch(manifest, [name], folder)
    device.prepare("cpu", seed=0)
    import keras

    return keras.models.load_model(folder / name, compile=False, safe_mode=True)


def _probabilities(
    model: Any,
    blocks: Iterator[NDArray[Any]] | Iterator[Mapping[str, NDArray[Any]]],
) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        given = dict(block) if isinstance(block, Mapping) else block
        yield np.asarray(model.predict_on_batch(given), dtype=np.float32)

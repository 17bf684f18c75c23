"""A published model at work: scored on labelled data, or predicting new rows."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job import data as labelled
from job import device, evaluation
from job.config import Config
from job.data.findings import Finding, merged
from job.data.schema import Schema
from job.data.sources.imageset import ImageSet
from job.errors import DataError
from job.evaluation.metrics import Metrics
from job.inference import predictions
from job.process.scratch import scratch
from job.registry import Versions
from job.registry.manifest import Manifest

BLOCK_ROWS = 8192

Warn = Callable[[Finding], None]
"""Gets what a person should know of the data."""

Rows = NDArray[Any] | Mapping[str, NDArray[Any]]
"""(rows, *shape), or the columns of a table, each (rows,)."""


def evaluate(
    versions: Versions, ref: str, *, data: str | None, test_data: str | None, warn: Warn
) -> tuple[Manifest, Metrics]:
    """Scores a version on the test rows of a data set.

    Args:
        versions: The model's versions.
        ref: A version number, champion or latest.
        data: The data set; by default the one that the manifest names.
        test_data: Its test set, when `data` does not contain one.
        warn: Gets what is not as in training.

    Raises:
        DataNotFound: No such version or data.
        DataError: A torn file, bad data, or a label that the model does not know.
    """
    manifest = versions.resolve(ref)
    if data is None:
        data, test_data = manifest.data.uri, test_data or manifest.data.test_uri
    with scratch() as folder:
        rows, y = test_rows(manifest, data, test_data=test_data, folder=folder, warn=warn)
        said = probabilities(load(versions, manifest, folder), rows, manifest.schema)
    return manifest, evaluation.evaluate(said, y, manifest.classes, threshold=manifest.threshold)


def test_rows(
    manifest: Manifest, data: str, *, test_data: str | None, folder: Path, warn: Warn
) -> tuple[Rows, NDArray[np.int32]]:
    """The test rows of a data set as a version takes them, and their classes (rows,).

    Raises:
        DataNotFound: No such data.
        DataError: Bad data, or a label that the model does not know.
    """
    reading = Config.recorded(manifest.config).data
    if manifest.schema:
        columns, y, findings = labelled.load_test_table(
            data,
            test_uri=test_data,
            classes=manifest.classes,
            schema=manifest.schema,
            reading=reading,
            scratch=folder,
        )
        for finding in findings:
            warn(finding)
        return columns, y
    test, findings = labelled.load_test(
        data,
        test_uri=test_data,
        classes=manifest.classes,
        shape=manifest.input.shape,
        dtype=manifest.input.dtype,
        scratch=folder,
        reading=reading,
    )
    for finding in findings:
        warn(finding)
    return test.x, test.y


def probabilities(model: Any, rows: Rows, schema: Schema | None) -> NDArray[np.float32]:
    """What a model says of rows, (rows, classes).

    Args:
        model: Takes rows as they are.
        rows: As `test_rows` gives them.
        schema: The model's columns, when it takes a table.
    """
    blocks: Iterator[Any]
    if isinstance(rows, Mapping):
        names = schema.inputs() if schema else {}
        count = len(next(iter(rows.values())))
        blocks = (
            {names[name]: values[i : i + BLOCK_ROWS] for name, values in rows.items()}
            for i in range(0, count, BLOCK_ROWS)
        )
    else:
        blocks = (rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS))
    return np.concatenate(list(_probabilities(model, blocks)))


def predict(versions: Versions, ref: str, rows: str, output: str, *, warn: Warn) -> int:
    """Writes class and probabilities of new rows, block by block.

    Args:
        versions: The model's versions.
        ref: A version number, champion or latest.
        rows: Path or URI of the raw rows.
        output: Path or URI of the result; its ending says the format.
        warn: Gets what is not as in training, once for each column.

    Returns:
        The number of rows written.

    Raises:
        UsageError: An output of no known format, in no folder, or that is the input.
        DataNotFound: No such version or input.
        DataError: Rows that do not fit the model's input.
    """
    predictions.check(output, rows)
    manifest = versions.resolve(ref)
    with scratch() as folder:
        if manifest.schema:
            columns = _columns(rows, manifest, manifest.schema, folder, warn)
            model = load(versions, manifest, folder)
            return predictions.write(
                output,
                _probabilities(model, columns),
                manifest.classes,
                threshold=manifest.threshold,
            )
        reading = Config.recorded(manifest.config).data
        if pictures := labelled.images_of(rows, folder, reading):
            files: list[str] = []
            blocks = _pictures(pictures, manifest, files, warn)
            model = load(versions, manifest, folder)
            said = _probabilities(model, blocks)
            return predictions.write(
                output, said, manifest.classes, threshold=manifest.threshold, files=files
            )
        blocks = labelled.rows(
            rows,
            shape=manifest.input.shape,
            dtype=manifest.input.dtype,
            scratch=folder,
            block_rows=BLOCK_ROWS,
        )
        model = load(versions, manifest, folder)
        return predictions.write(
            output, _probabilities(model, blocks), manifest.classes, threshold=manifest.threshold
        )


def _pictures(
    found: ImageSet, manifest: Manifest, files: list[str], warn: Warn
) -> Iterator[NDArray[Any]]:
    """The blocks of images; adds the names of their files to `files`."""
    findings: list[Finding] = []
    reading = Config.recorded(manifest.config).data
    for block, names, said in labelled.unlabelled(
        found, shape=manifest.input.shape, reading=reading
    ):
        # A name that is no text is shown as well as can be.
        files += [os.fsencode(name).decode(errors="replace") for name in names]
        findings += said
        yield block.astype(manifest.input.dtype, copy=False)
    for finding in merged(findings):
        warn(finding)


def _columns(
    uri: str, manifest: Manifest, schema: Schema, folder: Path, warn: Warn
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The blocks of a table; what is not as in training is reported after the last one."""
    found: list[Finding] = []
    inputs = schema.inputs()
    reading = Config.recorded(manifest.config).data
    for columns, findings in labelled.table_rows(uri, schema, folder, reading):
        found += findings
        yield {inputs[name]: values for name, values in columns.items()}
    for finding in merged(found):
        warn(finding)


def load(versions: Versions, manifest: Manifest, folder: Path) -> Any:
    """A version's model on the CPU: it can be scored wherever its store can be read."""
    device.prepare("cpu")
    return loaded(versions, manifest, folder)


def loaded(versions: Versions, manifest: Manifest, folder: Path) -> Any:
    """Downloads a version's model, checks its hash and loads it in Keras's safe mode.

    The device must be prepared.

    Raises:
        DataNotFound: The file is gone.
        DataError: It is not the one that was published, or this Keras cannot read it.
    """
    name = f"{manifest.attempt}/model.keras"
    versions.fetch(manifest, [name], folder)
    import keras

    try:
        return keras.models.load_model(folder / name, compile=False, safe_mode=True)
    except (KeyError, TypeError, ValueError) as exc:
        raise DataError(
            f"{manifest.name} version {manifest.version}: expected a model that Keras "
            f"{keras.__version__} can load. Received: {str(exc)[:300]}.",
            hint=f"Keras {manifest.library_versions.get('keras', 'of another version')} wrote it.",
        ) from exc


def _probabilities(
    model: Any,
    blocks: Iterator[NDArray[Any]] | Iterator[Mapping[str, NDArray[Any]]],
) -> Iterator[NDArray[np.float32]]:
    for block in blocks:
        given = dict(block) if isinstance(block, Mapping) else block
        yield np.asarray(model.predict_on_batch(given), dtype=np.float32)

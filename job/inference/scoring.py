"""A published model at work: scored on labelled data, or predicting new rows."""

import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job import data as labelled
from job import device, evaluation
from job.config import Config, DataOptions
from job.data.dataset import Kept, Tabular
from job.data.files import listing
from job.data.findings import Finding, merged
from job.data.place import beside
from job.data.schema import Schema
from job.errors import DataError, UsageError
from job.evaluation.metrics import Metrics
from job.inference import predictions
from job.process.scratch import scratch
from job.registry import Versions
from job.registry.manifest import Manifest

BLOCK_ROWS = 8192

LISTED = re.compile(r"[,*?\[]")
"""What makes a URI name several files."""

Warn = Callable[[Finding], None]
"""Gets what a person should know of the data."""

Rows = NDArray[Any] | Tabular
"""(rows, *shape), or the test rows of a table."""

Block = NDArray[Any] | Mapping[str, NDArray[Any]]
"""Some rows as a model takes them: (rows, *shape), or columns by name."""


def evaluate(
    versions: Versions, manifest: Manifest, *, data: str, test_data: str | None, warn: Warn
) -> Metrics:
    """Scores a version on the test rows of a data set.

    Args:
        versions: The model's versions.
        manifest: The version's.
        data: The data set.
        test_data: Its test set, when `data` does not contain one.
        warn: Gets what is not as in training.

    Raises:
        DataNotFound: No such data.
        DataError: A torn file, bad data, or a label that the model does not know.
    """
    with scratch() as folder:
        rows, y = test_rows(manifest, data, test_data=test_data, folder=folder, warn=warn)
        said = probabilities(load(versions, manifest, folder), rows, y, manifest.schema)
    return evaluation.evaluate(said, y, manifest.classes, threshold=manifest.threshold)


def test_rows(
    manifest: Manifest, data: str, *, test_data: str | None, folder: Path, warn: Warn
) -> tuple[Rows, NDArray[np.int32]]:
    """The test rows of a data set as a version takes them, and their classes (rows,).

    Raises:
        DataNotFound: No such data.
        DataError: Bad data, or a label that the model does not know.
    """
    # Where training kept its rows, and on which machine, says nothing about these.
    reading = replace(Config.recorded(manifest.config).data, feed="auto", cache=None)
    if manifest.schema:
        table, y, findings = labelled.load_test_table(
            data,
            test_uri=test_data,
            classes=manifest.classes,
            schema=manifest.schema,
            reading=reading,
            scratch=folder,
        )
        for finding in findings:
            warn(finding)
        return table, y
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


def probabilities(
    model: Any, rows: Rows, y: NDArray[np.int32], schema: Schema | None
) -> NDArray[np.float32]:
    """What a model says of rows, (rows, classes); it lies where their classes do.

    Args:
        model: Takes rows as they are.
        rows: As `test_rows` gives them.
        y: (rows,); their classes.
        schema: The model's columns, when it takes a table.
    """
    blocks: Iterator[Block]
    if isinstance(rows, Tabular):
        assert schema is not None  # noqa: S101 - a model of a table has one
        names = schema.inputs()
        blocks = (
            {names[name]: values[i : i + BLOCK_ROWS] for name, values in some.items()}
            for some in rows.blocks(schema)
            for i in range(0, len(next(iter(some.values()))), BLOCK_ROWS)
        )
    else:
        blocks = (rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS))
    found = beside(y).array((len(y), *model.output_shape[1:]), np.float32, "predictions")
    done = 0
    for block in blocks:
        said = _answer(model, block)
        found[done : done + len(said)] = said
        done += len(said)
    return found


def predict(
    versions: Versions,
    ref: str,
    rows: str,
    output: str,
    *,
    keep: tuple[str, ...] = (),
    warn: Warn,
) -> int:
    """Writes class and probabilities of new rows, block by block.

    Args:
        versions: The model's versions.
        ref: A version number, champion or latest.
        rows: Path or URI of the raw rows.
        output: Path or URI of the result; its ending says the format.
        keep: Columns that it carries; by default those of the version's training.
        warn: Gets what is not as in training, once for each column.

    Returns:
        The number of rows written.

    Raises:
        UsageError: An output of no known format, in no folder, or that is the input; or a column
            to keep that is not there.
        DataNotFound: No such version or input.
        DataError: Rows that do not fit the model's input.
    """
    predictions.check(output, rows)
    manifest = versions.resolve(ref)
    with scratch() as folder:
        model = cache(partial(load, versions, manifest, folder))
        return _predicted(manifest, model, rows, output, folder, keep=keep, warn=warn)


@dataclass(frozen=True, kw_only=True)
class Share:
    """What came of a share of many files.

    Attributes:
        rows: That were written.
        files: That were written.
        there: Outputs that were there already, and stay.
    """

    rows: int
    files: int
    there: int


def predict_each(
    versions: Versions,
    ref: str,
    rows: str,
    output: str,
    *,
    share: slice = slice(None),
    keep: tuple[str, ...] = (),
    warn: Warn,
) -> Share:
    """Predicts each of many files into an output of its own, unless that is there already.

    Args:
        versions, ref, rows, keep, warn: As of `predict`.
        output: The outputs, with {file} in place of a file's path below `rows`, and perhaps
            {version} in place of the version's number.
        share: Which of the files, in the order of their paths.

    Raises:
        As `predict`.
    """
    predictions.check(output, rows)
    manifest = versions.resolve(ref)
    done = count = there = 0
    with scratch() as folder:
        model = cache(partial(load, versions, manifest, folder))
        found = listing.find(rows, folder)
        keys = (found.tables if manifest.schema else found.images) or found.keys
        named = output.replace("{version}", str(manifest.version))
        outputs = {key: named.replace("{file}", key) for key in keys}
        for key, each in outputs.items():
            predictions.check_format(each)
            if found.files[key].entry and LISTED.search(found.name(key)):
                raise UsageError(
                    "INPUT: expected objects without comma or wildcard in their names. Received: "
                    f"{found.name(key)!r}.",
                    hint="Rename it: it would be read as several names, or as a pattern.",
                )
        for key in keys[share]:
            if predictions.exists(outputs[key]):
                there += 1
                continue
            with tempfile.TemporaryDirectory(dir=folder) as own:
                try:
                    count += _predicted(
                        manifest,
                        model,
                        found.name(key),
                        outputs[key],
                        Path(own),
                        keep=keep,
                        warn=warn,
                    )
                except DataError as error:
                    if error.details.get("rows") != 0:
                        raise
                    carried = keep or Config.recorded(manifest.config).data.keep
                    nothing = np.empty((0, len(manifest.classes)), np.float32)
                    kept = {name: np.empty(0, object) for name in carried}
                    predictions.write(outputs[key], [(nothing, kept)], manifest.classes)
            done += 1
    return Share(rows=count, files=done, there=there)


def _predicted(
    manifest: Manifest,
    model: Callable[[], Any],
    rows: str,
    output: str,
    folder: Path,
    *,
    keep: tuple[str, ...],
    warn: Warn,
) -> int:
    reading = Config.recorded(manifest.config).data
    reading = replace(reading, keep=keep or reading.keep).trimmed()
    blocks = _blocks(rows, manifest, reading, folder)
    first = list(itertools.islice(blocks, 1))  # bad rows end before the model is loaded
    _expect_kept(keep, [finding for _, _, findings in first for finding in findings], rows)
    answer = partial(_answer, model())
    found: list[Finding] = []

    def answered() -> Iterator[tuple[NDArray[np.float32], Kept]]:
        for block, kept, findings in itertools.chain(first, blocks):
            found.extend(findings)
            _expect_kept(keep, findings, rows)
            yield answer(block), kept

    count = predictions.write(output, answered(), manifest.classes, threshold=manifest.threshold)
    for finding in merged(found):
        warn(finding)
    return count


def _blocks(
    uri: str, manifest: Manifest, reading: DataOptions, folder: Path
) -> Iterator[tuple[Block, Kept, Sequence[Finding]]]:
    """Blocks of new rows as a version takes them, what predictions carry, and findings."""
    if schema := manifest.schema:
        inputs = schema.inputs()
        for columns, kept, findings in labelled.table_rows(uri, schema, folder, reading):
            yield {inputs[name]: values for name, values in columns.items()}, kept, findings
        return
    shape, dtype = manifest.input.shape, manifest.input.dtype
    if pictures := labelled.images_of(uri, folder, reading):
        for pixels, carried, findings in labelled.unlabelled(
            pictures, shape=shape, reading=reading
        ):
            kept, gone = _completed(carried, reading.keep, len(pixels))
            yield pixels.astype(dtype, copy=False), kept, (*findings, *gone)
        return
    for block in labelled.rows(
        uri, shape=shape, dtype=dtype, scratch=folder, block_rows=BLOCK_ROWS
    ):
        yield block, *_completed({}, reading.keep, len(block))


def _completed(kept: Kept, keep: Sequence[str], count: int) -> tuple[Kept, Sequence[Finding]]:
    """The columns to keep, with empty ones for those that are not there, and findings on these."""
    gone = [name for name in keep if name not in kept]
    empty = {name: np.full(count, None) for name in gone}
    return {**kept, **empty}, [
        Finding(code="kept-missing", column=name, count=count, of=count) for name in gone
    ]


def _expect_kept(keep: tuple[str, ...], findings: Sequence[Finding], rows: str) -> None:
    """Rejects rows without a column that the user wants kept."""
    gone = next((each for each in findings if keep and each.code == "kept-missing"), None)
    if gone:
        raise UsageError(
            f"--keep: expected columns of {rows}. Received: {gone.column!r}, no such column.",
            hint=f"The nearest columns are {', '.join(map(repr, gone.values))}."
            if gone.values
            else "Leave it out.",
        )


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


def _answer(model: Any, block: Block) -> NDArray[np.float32]:
    given = dict(block) if isinstance(block, Mapping) else block
    return np.asarray(model.predict_on_batch(given), dtype=np.float32)

"""Predictions of new rows, written block by block as CSV, Parquet or JSON Lines."""

import contextlib
import fnmatch
import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes, Kept
from job.data.files.listing import WILD
from job.errors import DataError, DataNotFound, StoreError, UsageError
from job.evaluation.threshold import Threshold, decide
from job.storage import open_store
from job.storage.uri import plain

Block = NDArray[np.float32]
Write = Callable[[Block, NDArray[np.int64], Kept], None]
"""Takes probabilities, the classes decided for, and what predictions carry of the rows."""


def check_format(output: str) -> str:
    """The output's format: its ending.

    Raises:
        UsageError: The ending is not .csv, .parquet or .jsonl.
    """
    suffix = PurePosixPath(output).suffix
    if suffix not in _WRITERS:
        raise UsageError(
            "--output: expected a name that ends in .csv, .parquet or .jsonl. "
            f"Received: {output!r}.",
            hint="The ending says the format: name the file so.",
        )
    return suffix


def check(output: str, rows: str) -> None:
    """Refuses an output that cannot be, or that lies among the rows it is made from.

    Args:
        output: A path or an s3:// URI.
        rows: What is predicted: a file, a folder, a glob, or several of these with commas between.

    Raises:
        UsageError: An unknown ending, no such folder, or a file that is also read, now or when the
            same rows are predicted again.
    """
    if not output.endswith("{file}"):  # which has the ending of the file's own name
        check_format(output)
    output = plain(output)
    if not output.startswith("s3://"):
        folder = Path(output.partition("{")[0] + "_" if "{file}" in output else output).parent
        if not os.path.isdir(folder):  # noqa: PTH112 - false for whatever cannot be a folder
            raise UsageError(
                f"--output: expected a folder that exists. Received: {str(folder)!r}.",
                hint="Make the folder first, or name another one.",
            )
    parts = {rows, *filter(None, map(str.strip, rows.split(",")))}
    if any(_is_read(output, plain(part)) for part in parts):
        raise UsageError(
            f"--output: expected a file that is not among the rows to predict. "
            f"Received: {output!r}.",
            hint="Name a file elsewhere: there it would replace rows, or be read as rows.",
        )


def exists(output: str) -> bool:
    """Whether an output is there: then it is whole."""
    output = plain(output)
    if not output.startswith("s3://"):
        return Path(output).exists()
    folder, _, key = output.rpartition("/")
    try:
        open_store(folder).entry(key)
    except DataNotFound:
        return False
    return True


def _is_read(output: str, part: str) -> bool:
    """Whether a part of the rows takes in the output: itself, a folder above it, or a pattern."""
    remote, wild = part.startswith("s3://"), WILD.search(part)
    if remote != output.startswith("s3://"):
        return False
    if not remote:
        wild = None if os.path.exists(part) else wild  # noqa: PTH110 - false for any nonsense
        with contextlib.suppress(OSError, ValueError):  # what cannot be read is told when it is
            part, output = os.path.realpath(part), os.path.realpath(output)
    read, written = part.rstrip("/").split("/"), output.split("/")
    if wild:
        return len(written) == len(read) and all(map(fnmatch.fnmatchcase, written, read))
    return written[: len(read)] == read


def write(
    output: str,
    blocks: Iterable[tuple[Block, Kept]],
    classes: Classes,
    *,
    threshold: Threshold | None = None,
) -> int:
    """Writes one row for each row of the blocks: what it carries, its class, and probabilities.

    The output appears whole or not at all.

    Args:
        output: A path or an s3:// URI.
        blocks: Probabilities, (rows, classes) float32, and what predictions carry of these rows,
            the same columns in all blocks.
        classes: The labels, in the order of the columns.
        threshold: How a class is decided for; by default the most probable one.

    Returns:
        The number of rows written.

    Raises:
        DataError: A column that is carried has other types in other files.
        StoreError: The output cannot be written.
    """
    opened = _WRITERS[check_format(output)]
    rest = iter(blocks)
    nothing: tuple[Block, Kept] = np.empty((0, len(classes)), np.float32), {}
    first = next(rest, nothing)
    with _destination(output) as path:
        count = 0
        with opened(path, classes, first[1]) as write_block:
            for block, kept in itertools.chain([first], rest):
                write_block(block, decide(block, classes, threshold), kept)
                count += len(block)
    return count


def without_clash(kept: Kept, taken: Collection[str]) -> dict[str, Any]:
    """The same columns, with `kept_` before a name that is taken."""
    found = {}
    for name, values in kept.items():
        while name in taken or name in found:
            name = f"kept_{name}"
        found[name] = values
    return found


@contextlib.contextmanager
def _destination(output: str) -> Iterator[Path]:
    """A temporary file that becomes the output when the block ends well."""
    output = plain(output)
    if output.startswith("s3://"):
        folder, _, key = output.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="mlp-job-") as scratch:
            path = Path(scratch) / key
            yield path
            open_store(folder).upload(path, key)
        return
    path = Path(output).with_name(f".{Path(output).name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        path.replace(output)
    except OSError as exc:
        raise StoreError(
            f"--output: expected a file that can be written. Received: {output!r}: {exc.strerror}.",
            hint="Check the folder's mode and the space on its disk, or name another one.",
        ) from exc
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _csv(path: Path, classes: Classes, kept: Kept) -> Iterator[Write]:
    import pyarrow.csv

    schema = _schema(classes, _as_text(kept))
    with path.open("wb") as file, pyarrow.csv.CSVWriter(file, schema) as writer:

        def write_block(block: Block, decided: NDArray[np.int64], kept: Kept) -> None:
            writer.write_table(_table(block, decided, _as_text(kept), classes, schema))

        yield write_block


@contextlib.contextmanager
def _parquet(path: Path, classes: Classes, kept: Kept) -> Iterator[Write]:
    import pyarrow.parquet

    schema = _schema(classes, kept)
    with path.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:

        def write_block(block: Block, decided: NDArray[np.int64], kept: Kept) -> None:
            writer.write_table(_table(block, decided, kept, classes, schema))

        yield write_block


@contextlib.contextmanager
def _json_lines(path: Path, classes: Classes, _kept: Kept) -> Iterator[Write]:
    names = [str(label) for label in classes]
    own = {"class", "probabilities", *(f"probability_{name}" for name in names)}
    with path.open("w", encoding="utf-8") as file:

        def write_block(block: Block, decided: NDArray[np.int64], kept: Kept) -> None:
            rounded = block.astype(np.float64).round(7).tolist()
            carried = {
                name: [_finite(value) for value in _arrow(values).to_pylist()]
                for name, values in without_clash(kept, own).items()
            }
            for i, (best, row) in enumerate(zip(decided, rounded, strict=True)):
                record = {name: values[i] for name, values in carried.items()}
                record["class"] = classes[best]
                record["probabilities"] = dict(zip(names, row, strict=True))
                file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")

        yield write_block


def _schema(classes: Classes, kept: Kept) -> Any:
    """Columns of CSV and Parquet: what is kept, class, probability_LABEL of each class."""
    import pyarrow as pa

    probabilities = [(f"probability_{name}", pa.float32()) for name in classes]
    own = [("class", pa.array(classes[:1]).type), *probabilities]
    columns = without_clash(kept, dict(own))
    types = {name: _arrow(values).type for name, values in columns.items()}
    return pa.schema(
        [*((n, pa.string() if pa.types.is_null(t) else t) for n, t in types.items()), *own]
    )


def _table(
    block: Block, decided: NDArray[np.int64], kept: Kept, classes: Classes, schema: Any
) -> Any:
    import pyarrow as pa

    best = pa.array(classes).take(pa.array(decided))
    columns = [*kept.values(), best, *block.T]
    return pa.Table.from_arrays(
        [_cast(values, field) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def _cast(values: Any, field: Any) -> Any:
    """The values of a column in its type, which is that of the first block."""
    import pyarrow as pa

    array = _arrow(values)
    try:
        return array if array.type == field.type else array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise DataError(
            f"--keep: expected column {field.name[:80]!r} to be {field.type} in all files. "
            f"Received: {array.type}.",
            hint="Write a .jsonl, or predict the files one by one.",
        ) from exc


def _arrow(values: Any) -> Any:
    import pyarrow as pa

    return values if isinstance(values, pa.ChunkedArray) else pa.array(values)


def _finite(value: Any) -> Any:
    """A value that JSON has; infinity as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _as_text(kept: Kept) -> Kept:
    """The same columns, with lists and structures as JSON, which CSV needs."""
    import pyarrow as pa

    return {
        name: pa.array(
            [None if v is None else json.dumps(v, default=str) for v in values.to_pylist()],
            pa.string(),
        )
        if isinstance(values, pa.ChunkedArray) and pa.types.is_nested(values.type)
        else values
        for name, values in kept.items()
    }


_WRITERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}

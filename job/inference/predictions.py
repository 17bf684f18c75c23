"""Predictions of new rows, written block by block as CSV, Parquet or JSON Lines."""

import contextlib
import fnmatch
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.data.files.listing import WILD
from job.errors import StoreError, UsageError
from job.evaluation.threshold import Threshold, decide
from job.storage.uri import plain

Block = NDArray[np.float32]
Files = Sequence[str] | None
"""What each row of a block was read from, when the rows are images."""
Write = Callable[[Block, Files], None]


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
    check_format(output)
    output = plain(output)
    if not output.startswith("s3://"):
        folder = Path(output).parent
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
    blocks: Iterable[Block],
    classes: Classes,
    *,
    threshold: Threshold | None = None,
    files: Files = None,
) -> int:
    """Writes one row for each row of the blocks: its class and the probability of every class.

    The output appears whole or not at all.

    Args:
        output: A path or an s3:// URI.
        blocks: Arrays of probabilities, each (rows, classes), float32.
        classes: The labels, in the order of the columns.
        threshold: How a class is decided for; by default the most probable one.
        files: Of each row, written in front of it; it may grow while the blocks are made.

    Returns:
        The number of rows written.

    Raises:
        StoreError: The output cannot be written.
    """
    opened = _WRITERS[check_format(output)]
    with _destination(output) as path:
        count = 0
        with opened(path, classes, threshold, files is not None) as write_block:
            for block in blocks:
                write_block(block, files and files[count : count + len(block)])
                count += len(block)
    return count


@contextlib.contextmanager
def _destination(output: str) -> Iterator[Path]:
    """A temporary file that becomes the output when the block ends well."""
    output = plain(output)
    if output.startswith("s3://"):
        from job.storage import open_store

        folder, _, key = output.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="mlp-job-") as scratch:
            path = Path(scratch) / key
            yield path
            open_store(folder).upload(path, key)
        return
    path = Path(output).with_name(f".{Path(output).name}.{os.getpid()}")
    try:
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
def _csv(path: Path, classes: Classes, threshold: Threshold | None, named: bool) -> Iterator[Write]:
    import pyarrow.csv

    schema = _schema(classes, named)
    with path.open("wb") as file, pyarrow.csv.CSVWriter(file, schema) as writer:
        yield lambda block, files: writer.write_table(_table(block, classes, threshold, files))


@contextlib.contextmanager
def _parquet(
    path: Path, classes: Classes, threshold: Threshold | None, named: bool
) -> Iterator[Write]:
    import pyarrow.parquet

    schema = _schema(classes, named)
    with path.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield lambda block, files: writer.write_table(_table(block, classes, threshold, files))


@contextlib.contextmanager
def _json_lines(
    path: Path, classes: Classes, threshold: Threshold | None, _named: bool
) -> Iterator[Write]:
    names = [str(label) for label in classes]
    with path.open("w", encoding="utf-8") as file:

        def write_block(block: Block, files: Files) -> None:
            rounded = block.astype(np.float64).round(7).tolist()
            decided = decide(block, classes, threshold)
            for i, (best, row) in enumerate(zip(decided, rounded, strict=True)):
                said = dict(zip(names, row, strict=True))
                record = {"class": classes[best], "probabilities": said}
                if files:
                    record = {"file": files[i], **record}
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield write_block


def _schema(classes: Classes, named: bool):  # type: ignore[no-untyped-def]
    """Columns of CSV and Parquet: file if rows have one, class, probability_LABEL of each class."""
    import pyarrow as pa

    label = pa.array(classes[:1]).type
    probabilities = [(f"probability_{name}", pa.float32()) for name in classes]
    return pa.schema([*[("file", pa.string())] * named, ("class", label), *probabilities])


def _table(block: Block, classes: Classes, threshold: Threshold | None, files: Files):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    best = pa.array(classes).take(pa.array(decide(block, classes, threshold)))
    columns = [*([files] if files else []), best, *block.T]
    schema = _schema(classes, files is not None)
    return pa.Table.from_arrays(list(map(pa.array, columns)), schema=schema)


_WRITERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}

"""Predictions of new rows, written block by block as CSV, Parquet or JSON Lines."""

import contextlib
import glob
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.errors import StoreError, UsageError

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
            f"Received: {output!r}."
        )
    return suffix


def check(output: str, rows: str) -> None:
    """Refuses an output that cannot be, or that would replace the rows it is made from.

    Args:
        output: A path or an s3:// URI.
        rows: What is predicted: a file, a glob, or several of these with commas between.

    Raises:
        UsageError: An unknown ending, no such folder, or a file that is also read.
    """
    check_format(output)
    parts = {rows, *(part.strip() for part in rows.split(","))}
    if output.startswith("s3://"):
        same = output in parts
    else:
        folder = Path(output).parent
        if not os.path.isdir(folder):  # noqa: PTH112 - false for whatever cannot be a folder
            raise UsageError(
                f"--output: expected a folder that exists. Received: {str(folder)!r}.",
                hint="Make the folder first, or name another one.",
            )
        names = parts.union(*map(glob.glob, parts))
        same = any(_same_file(output, name) for name in names)
    if same:
        raise UsageError(
            f"--output: expected another file than the rows to predict. Received: {output!r}.",
            hint="Name a new file; the rows would be lost.",
        )


def _same_file(one: str, other: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # what cannot be read is told when it is
        return Path(one).samefile(other)
    return False


def write(output: str, blocks: Iterable[Block], classes: Classes, *, files: Files = None) -> int:
    """Writes one row for each row of the blocks: its class and the probability of every class.

    The output appears whole or not at all.

    Args:
        output: A path or an s3:// URI.
        blocks: Arrays of probabilities, each (rows, classes), float32.
        classes: The labels, in the order of the columns.
        files: Of each row, written in front of it.

    Returns:
        The number of rows written.

    Raises:
        StoreError: The output cannot be written.
    """
    opened = _WRITERS[check_format(output)]
    with _destination(output) as path:
        count = 0
        with opened(path, classes, files is not None) as write_block:
            for block in blocks:
                write_block(block, files and files[count : count + len(block)])
                count += len(block)
    return count


@contextlib.contextmanager
def _destination(output: str) -> Iterator[Path]:
    """A temporary file that becomes the output when the block ends well."""
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
            f"--output: expected a file that can be written. Received: {output!r}: {exc.strerror}."
        ) from exc
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _csv(path: Path, classes: Classes, named: bool) -> Iterator[Write]:
    import pyarrow.csv

    schema = _schema(classes, named)
    with path.open("wb") as file, pyarrow.csv.CSVWriter(file, schema) as writer:
        yield lambda block, files: writer.write_table(_table(block, classes, files))


@contextlib.contextmanager
def _parquet(path: Path, classes: Classes, named: bool) -> Iterator[Write]:
    import pyarrow.parquet

    schema = _schema(classes, named)
    with path.open("wb") as file, pyarrow.parquet.ParquetWriter(file, schema) as writer:
        yield lambda block, files: writer.write_table(_table(block, classes, files))


@contextlib.contextmanager
def _json_lines(path: Path, classes: Classes, _named: bool) -> Iterator[Write]:
    names = [str(label) for label in classes]
    with path.open("w", encoding="utf-8") as file:

        def write_block(block: Block, files: Files) -> None:
            rounded = block.astype(np.float64).round(7).tolist()
            for i, (best, row) in enumerate(zip(block.argmax(axis=1), rounded, strict=True)):
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


def _table(block: Block, classes: Classes, files: Files):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    best = pa.array(classes).take(pa.array(block.argmax(axis=1)))
    columns = [*([files] if files else []), best, *block.T]
    schema = _schema(classes, files is not None)
    return pa.Table.from_arrays(list(map(pa.array, columns)), schema=schema)


_WRITERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _json_lines}

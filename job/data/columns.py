"""Rows of a table for a model that exists: its raw columns, checked against its schema."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.data.files.listing import find
from job.data.findings import Finding
from job.data.reading import Reading
from job.data.schema import Schema

READING = Reading()

Raw = Mapping[str, NDArray[Any]]
"""Column → (rows,) values, as a published model takes them."""


def table_rows(
    uri: str, schema: Schema, scratch: Path, reading: Reading = READING
) -> Iterator[tuple[Raw, Sequence[Finding]]]:
    """Streams the rows of a table as a published model takes them.

    Args:
        uri: .csv, .csv.gz, .parquet or .jsonl, one or several; local or s3://.
        schema: What the model takes.
        reading: The options of its training.
        scratch: Where files from S3 are put; the caller removes it.

    Yields:
        Column → (rows,) values, and findings about what is not as in training.

    Raises:
        DataError: The file is damaged or empty, a column is missing, or a value does not fit.
        UsageError, DataNotFound, AccessDenied, StoreError: As `load`.
    """
    from job.data.table import load as table

    return table.rows(find(uri, scratch), schema, reading)


def load_test_table(
    uri: str,
    *,
    test_uri: str | None,
    classes: Classes,
    schema: Schema,
    reading: Reading,
    scratch: Path,
) -> tuple[Raw, NDArray[np.int32], tuple[Finding, ...]]:
    """Reads the test rows of a table for a model that exists.

    Args:
        uri: As for `load`; its test rows are those that a hash held out in training.
        test_uri: Test rows, all of them.
        classes: What the model tells apart.
        schema: What it takes.
        reading: The options of its training.
        scratch: Where files from S3 are put; the caller removes it.

    Returns:
        Column → (rows,) values, (rows,) class indices, and findings about what is not as in
        training.

    Raises:
        As `load_test`.
    """
    from job.data.table import load as table

    return table.load_test(
        find(test_uri or uri, scratch),
        whole=test_uri is not None,
        schema=schema,
        classes=classes,
        reading=reading,
    )

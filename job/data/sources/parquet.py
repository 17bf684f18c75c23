"""Parquet files of numbers, streamed."""

from pathlib import Path

from job.data.files import opening
from job.data.sources import batches
from job.errors import DataError

BATCH_BYTES = 8 << 20
"""About what is decoded at once; smaller batches cost time for each of many columns."""

BUFFER_BYTES = 1 << 16
"""Read ahead in each column: without it pyarrow reads a whole row group."""


def blocks(path: Path, name: str, width: int) -> batches.Blocks:
    """Reads the columns in their order.

    Args:
        path: The file.
        name: How messages call it.
        width: Columns that it must have.

    Raises:
        DataError: It is damaged, or has other columns than integers and floats.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with opening.opened(path, name) as stream:
        try:
            table = parquet.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False)
            odd = [
                field
                for field in table.schema_arrow
                if not pa.types.is_integer(field.type) and not pa.types.is_floating(field.type)
            ]
            if odd or len(table.schema_arrow) != width:
                raise DataError(
                    f"{name}: expected {width} columns of integers or floats. Received: "
                    f"{len(table.schema_arrow)} columns"
                    + (f", of them {len(odd)} others such as {str(odd[0])[:200]}." if odd else "."),
                    hint="Write the columns that the model was trained on, in their order.",
                )
            rows = max(1, BATCH_BYTES // (8 * width))
            yield from batches.blocks(table.iter_batches(rows), name)
        except pa.ArrowException as exc:
            raise batches.unreadable(name, exc) from exc

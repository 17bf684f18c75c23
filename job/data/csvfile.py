"""CSV files of numbers, with a header or without, streamed."""

import csv
from pathlib import Path

from job.data import batches, files


def blocks(path: Path, name: str, width: int) -> batches.Blocks:
    """Reads comma-separated numbers.

    The first line is a header when no field of it is a number, or when it counts from 0 to
    width - 1, as pandas writes it for columns without names.

    Args:
        path: The file, packed with gzip or not.
        name: How messages call it.
        width: Numbers in a row.

    Raises:
        DataError: A row has another number of fields, or a field is no number.
        DataNotFound, AccessDenied, StoreError: As `files.opened`.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    def problem(line: str) -> str:
        fields = _fields(line)
        if len(fields) != width:
            return f"{len(fields)} fields in place of {width}"
        return next((repr(field[:80]) for field in fields if not _is_number(field)), "")

    with files.opened(path, name) as packed:
        stream = files.unpacked(packed)
        header = _is_header(batches.first_line(stream, name, width))
        with batches.diagnosed(name, stream, width, problem, skip=header):
            columns = [f"f{i}" for i in range(width)]
            reader = arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(
                    use_threads=False,
                    block_size=batches.row_bytes(width),
                    skip_rows=int(header),
                    column_names=columns,
                ),
                convert_options=arrow.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.float64()), null_values=[]
                ),
            )
            yield from batches.blocks(reader, name)


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:  # a field of more than 131,072 characters
        return [line]


def _is_header(line: str) -> bool:
    fields = _fields(line)
    counted = len(fields) > 2 and fields == [str(i) for i in range(len(fields))]
    return counted or not any(not field or _is_number(field) for field in fields)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True

"""CSV files of numbers, with a header or without, streamed."""

import csv
from pathlib import Path

from job.data.files import opening
from job.data.sources import batches


def blocks(path: Path, name: str, width: int) -> batches.Blocks:
    """Reads comma-separated numbers.

    The first line is a header when it has a name in every field and no number, or when it counts
    from 0 to width - 1, as pandas writes it for columns without names.

    Args:
        path: The file, packed with gzip or not.
        name: How messages call it.
        width: Numbers in a row.

    Raises:
        DataError: A row has another number of fields, or a field is no number.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow

    def problem(line: str) -> str:
        fields = _fields(line)
        if len(fields) != width:
            return f"{len(fields)} fields in place of {width}"
        return next((repr(field[:80]) for field in fields if not _is_number(field)), "")

    with opening.opened(path, name) as packed:
        stream = opening.unpacked(packed)
        header = _is_header(_fields(batches.first_line(stream, name, width)), width)
        with batches.diagnosed(name, path, width, problem, skip=header):
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


def _is_header(fields: list[str], width: int) -> bool:
    counted = width > 2 and fields == [str(i) for i in range(width)]
    names = len(fields) == width and all(fields) and not any(map(_is_number, fields))
    return counted or names


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field  # which Python takes between digits

"""Excel files (.xlsx) → columns of text, from the first sheet that has rows."""

import datetime as dt
from typing import Any

import pyarrow as pa

from job.config.csv import Csv
from job.data.files import opening
from job.data.files.opening import Source
from job.data.findings import Finding
from job.data.table import dialect
from job.data.table.frame import Part
from job.errors import DataError


def table(path: Source, name: str, said: Csv, known: frozenset[str]) -> Part:
    """All rows; missing values are null.

    Raises:
        DataError: It is damaged, protected, or has no rows.
        DataNotFound, AccessDenied, StoreError: As `opening.opened`.
    """
    import python_calamine as calamine

    with opening.opened(path, name) as stream:
        try:
            book = calamine.load_workbook(stream)
            sheets = list(book.sheet_names)
            chosen, cells = next(
                (
                    (sheet, rows)
                    for sheet in sheets
                    if len(rows := book.get_sheet_by_name(sheet).to_python()) > 1
                ),
                ("", []),
            )
        except (calamine.CalamineError, ValueError) as exc:
            raise DataError(
                f"{name}: expected an Excel file that can be read. Received: {str(exc)[:200]}.",
                hint="Save it again without a password, or as CSV UTF-8.",
            ) from exc
    lines: list[list[str]] = [[_text(cell) for cell in row] for row in cells]
    filled = [(i + 1, texts) for i, texts in enumerate(lines)]
    if not any(text.strip() for texts in lines for text in texts):
        raise DataError(
            f"{name}: expected a header and rows. Received: empty sheets.",
            hint="Put the table on the first sheet.",
        )
    top = dialect.header(filled[: dialect.ROWS], name, said, known)
    width = len(top.names)
    body = [texts[:width] for texts in lines[top.above :] if any(texts)]
    columns = [[texts[i] or None for texts in body] for i in range(width)]
    findings = list(top.findings)
    if len(sheets) > 1:
        findings.append(
            Finding(code="several-sheets", column=name, of=len(sheets), values=(chosen,))
        )
    return Part(
        name=name,
        table=pa.table([pa.array(c, pa.string()) for c in columns], names=list(top.names)),
        written=top.written,
        findings=tuple(findings),
    )


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, dt.datetime):
        return cell.isoformat(sep=" ").removesuffix(" 00:00:00")
    if isinstance(cell, dt.timedelta):
        return str(cell.total_seconds())
    return str(cell).replace("\0", "")

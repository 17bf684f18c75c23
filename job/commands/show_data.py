"""What the job sees in a data set, on standard output: tables for a person, JSON for scripts."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape

from job.commands.inspection import Inspection
from job.commands.show import put, table
from job.process.log import one_line

CLASSES = 20
"""Classes that are listed one by one."""


def inspection(seen: Inspection, *, as_json: bool) -> None:
    """A data set at a glance."""
    if as_json:
        error = seen.error.message if seen.error else None
        print(json.dumps({**_fields(seen), "error": error}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    rows = ", ".join(
        f"{count:,} rows" if part == "all" else f"{count:,} rows to {part}"
        for part, count in seen.rows.items()
    )
    rows += " (held out by a hash)" if seen.held_out else ""
    each = f", each {seen.input}" if seen.input else ""
    console.print(f"[bold]{_safe(seen.uri)}[/]: {rows}{each}")
    if seen.columns:
        columns = table("column", "kind", ">missing", ">different", "first values")
        for column in seen.columns:
            samples = ", ".join(value or "–" for value in column.samples)
            columns.add_row(
                _safe(column.name),
                column.kind,
                f"{column.missing:,}",
                f"{column.distinct:,}",
                _safe(samples),
            )
        put(columns, width=10_000)
    if seen.classes:
        classes = table("class", ">training rows")
        for label, count in list(seen.classes.items())[:CLASSES]:
            classes.add_row(_safe(label), f"{count:,}")
        put(classes, width=10_000)
        if len(seen.classes) > CLASSES:
            console.print(f"… and {len(seen.classes) - CLASSES:,} more classes")
    for problem in seen.problems:
        console.print(f"[yellow]![/] {_safe(problem)}")


def _fields(seen: Inspection) -> dict[str, object]:
    return {
        "uri": seen.uri,
        "rows": dict(seen.rows),
        "input": seen.input,
        "held_out": seen.held_out,
        "columns": [asdict(column) for column in seen.columns],
        "classes": dict(seen.classes),
        "problems": list(seen.problems),
    }


def _safe(text: str) -> str:
    return escape(one_line(text))

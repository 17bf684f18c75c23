"""What the job sees in a data set, on standard output: tables for a person, JSON for scripts."""

import json
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from job.commands.inspection import Inspection
from job.log import one_line

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
        table = Table(box=SIMPLE_HEAD)
        for name in ("column", "kind"):
            table.add_column(name)
        for name in ("missing", "different"):
            table.add_column(name, justify="right")
        table.add_column("first values")
        for column in seen.columns:
            samples = ", ".join(value or "–" for value in column.samples)
            table.add_row(
                _safe(column.name),
                column.kind,
                f"{column.missing:,}",
                f"{column.distinct:,}",
                _safe(samples),
            )
        _print(console, table)
    if seen.classes:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("class")
        table.add_column("training rows", justify="right")
        for label, count in list(seen.classes.items())[:CLASSES]:
            table.add_row(_safe(label), f"{count:,}")
        _print(console, table)
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


def _print(console: Console, table: Table) -> None:
    # A file or a pipe has no width: nothing is folded or cut there.
    console.print(table, width=None if console.is_terminal else 10_000)

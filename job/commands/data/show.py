"""What the job sees in a data set, on standard output: tables for a person, JSON for scripts."""

from dataclasses import asdict

from rich.console import Console

from job.commands.data.inspection import Inspection
from job.commands.show import put, put_json, safe, table

CLASSES = 20
"""Classes that are listed one by one."""


def inspection(seen: Inspection, *, as_json: bool) -> None:
    """A data set at a glance."""
    if as_json:
        error = seen.error.message if seen.error else None
        put_json({**_fields(seen), "error": error})
        return
    console = Console(highlight=False, soft_wrap=True)
    words = {"all": "{:,} rows", "sample": "a sample of {:,} rows"}
    rows = ", ".join(
        words.get(part, f"{{:,}} rows to {part}").format(count) for part, count in seen.rows.items()
    )
    rows += " (held out by a hash)" if seen.held_out else ""
    each = f", each {seen.input}" if seen.input else ""
    console.print(f"[bold]{safe(seen.uri)}[/]: {rows}{each}")
    if seen.columns:
        columns = table("column", "kind", ">missing", ">different", "first values")
        for column in seen.columns:
            samples = ", ".join(value or "–" for value in column.samples)
            columns.add_row(
                safe(column.name),
                column.kind,
                f"{column.missing:,}",
                f"{column.distinct:,}",
                safe(samples),
            )
        put(columns, width=10_000)
    if seen.classes:
        classes = table("class", ">training rows")
        for label, count in list(seen.classes.items())[:CLASSES]:
            classes.add_row(safe(label), f"{count:,}")
        put(classes, width=10_000)
        if len(seen.classes) > CLASSES:
            console.print(f"… and {len(seen.classes) - CLASSES:,} more classes")
    for problem in seen.problems:
        console.print(f"[yellow]![/] {safe(problem)}")


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

"""Results on standard output: tables for a person, JSON for scripts."""

import json
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from job.process.log import one_line


def table(*columns: str, title: str = "") -> Table:
    """A table; a column whose name begins with > is aligned to the right."""
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for column in columns:
        if column.startswith(">"):
            table.add_column(column.lstrip(">"), justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def put(rows: Table, *, width: int = 1000) -> None:
    """Prints a table, folded where the terminal ends, or at `width` in a file or a pipe."""
    Console(highlight=False, width=None if sys.stdout.isatty() else width).print(rows)


def put_json(content: object) -> None:
    """Prints JSON for scripts."""
    print(json.dumps(content, indent=2))


def safe(text: str) -> str:
    """A text from outside, so that no name can forge a line, a colour or a link."""
    return escape(one_line(text))

"""Results of the commands on standard output: tables for a person, JSON for scripts."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from job.commands.doctor import Check
from job.commands.reproduce import Reproduction
from job.evaluation.metrics import Metrics
from job.process.log import one_line
from job.registry import Verification
from job.registry.manifest import Manifest


def evaluation(manifest: Manifest, metrics: Metrics, *, as_json: bool) -> None:
    """The scores of one version."""
    if as_json:
        about = {"name": manifest.name, "version": manifest.version}
        put_json({**about, **asdict(metrics)})
        return
    low, high = metrics.accuracy_interval
    print(f"{manifest.name} version {manifest.version}, {metrics.rows:,} test rows")
    print(f"accuracy           {metrics.accuracy:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    print(f"loss               {metrics.loss:.4f}")
    print(f"calibration error  {metrics.calibration_error:.4f}")
    rows = table("class", ">precision", ">recall", ">F1", ">support")
    for c in metrics.per_class:
        scores = (f"{score:.4f}" for score in (c.precision, c.recall, c.f1))
        rows.add_row(escape(one_line(str(c.label))), *scores, f"{c.support:,}")
    put(rows)


def verification(result: Verification, *, as_json: bool) -> None:
    """What hashing every file again gave."""
    if as_json:
        put_json({"version": result.version, "files": [asdict(file) for file in result.files]})
        return
    rows = table("", "file", ">size", "found")
    for file in result.files:
        mark = "[red]✗" if file.problem else "[green]✓"
        rows.add_row(
            mark, escape(one_line(file.path)), decimal(file.size), file.problem or "as published"
        )
    put(rows)


def reproduction(result: Reproduction, *, as_json: bool) -> None:
    """What training a version again gave."""
    if as_json:
        put_json({**asdict(result), "same_accuracy": result.same_accuracy})
        return
    low, high = result.interval
    print(
        f"version {result.version}: "
        + ("the same bits" if result.same_bits else "not the same bits")
        + f"; accuracy {result.accuracy:.4f}, published {result.published_accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f})"
    )
    if result.differences:
        rows = table("", "then", "now")
        for name, (then, now) in result.differences.items():
            rows.add_row(*(escape(one_line(text)) for text in (name, then, now)))
        put(rows)


def diagnosis(checks: Sequence[Check], *, as_json: bool) -> None:
    """What the doctor found."""
    if as_json:
        put_json(
            {"checks": [{"name": c.name, "ok": not c.error, "found": c.found} for c in checks]}
        )
        return
    rows = table("", "check", "found")
    for check in checks:
        hint = f"\n→ {check.error.hint}" if check.error and check.error.hint else ""
        rows.add_row(
            "[red]✗" if check.error else "[green]✓",
            check.name,
            escape(one_line(check.found)) + hint,
        )
    put(rows)


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

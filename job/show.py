"""Results of the commands on standard output: tables for a person, JSON for scripts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from job.doctor import Check
from job.evaluation import Metrics
from job.log import one_line
from job.manifest import Manifest
from job.registry import Listed, Verification


def evaluation(manifest: Manifest, metrics: Metrics, *, as_json: bool) -> None:
    """The scores of one version."""
    if as_json:
        about = {"name": manifest.name, "version": manifest.version}
        _json({**about, **asdict(metrics)})
        return
    low, high = metrics.accuracy_interval
    print(f"{manifest.name} version {manifest.version}, {metrics.rows:,} test rows")
    print(f"accuracy           {metrics.accuracy:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    print(f"loss               {metrics.loss:.4f}")
    print(f"calibration error  {metrics.calibration_error:.4f}")
    table = _table("class", ">precision", ">recall", ">F1", ">support")
    for c in metrics.per_class:
        scores = (f"{score:.4f}" for score in (c.precision, c.recall, c.f1))
        table.add_row(escape(one_line(str(c.label))), *scores, f"{c.support:,}")
    _print(table)


def models(named: Mapping[str, Sequence[Listed]], *, as_json: bool) -> None:
    """The versions of each model, the newest first."""
    if as_json:
        rows = {name: [_as_dict(each) for each in listed] for name, listed in named.items()}
        _json({"models": rows})
        return
    for name, listed in named.items():
        table = _table("version", ">accuracy", ">loss", ">size", ">age", "verdict", "", title=name)
        for each in listed:
            table.add_row(*_row(each))
        _print(table)
    if not any(named.values()):
        print("No versions yet. `mlp-job train` makes one.")


def verification(result: Verification, *, as_json: bool) -> None:
    """What hashing every file again gave."""
    if as_json:
        _json({"version": result.version, "files": [asdict(file) for file in result.files]})
        return
    table = _table("", "file", ">size", "found")
    for file in result.files:
        mark = "[red]✗" if file.problem else "[green]✓"
        table.add_row(
            mark, escape(one_line(file.path)), decimal(file.size), file.problem or "as published"
        )
    _print(table)


def diagnosis(checks: Sequence[Check], *, as_json: bool) -> None:
    """What the doctor found."""
    if as_json:
        _json({"checks": [{"name": c.name, "ok": not c.error, "found": c.found} for c in checks]})
        return
    table = _table("", "check", "found")
    for check in checks:
        hint = f"\n→ {check.error.hint}" if check.error and check.error.hint else ""
        table.add_row(
            "[red]✗" if check.error else "[green]✓",
            check.name,
            escape(one_line(check.found)) + hint,
        )
    _print(table)


def _row(listed: Listed) -> tuple[str, ...]:
    manifest = listed.manifest
    mark = "[green]champion" if listed.champion else ""
    if manifest is None:
        return (str(listed.version), "", "", "", "", f"[red]{escape(listed.problem)}", mark)
    return (
        str(listed.version),
        f"{manifest.metrics.accuracy:.4f}",
        f"{manifest.metrics.loss:.4f}",
        decimal(_bytes(manifest)),
        _age(manifest.created),
        "promote" if manifest.verdict.promote else "do not promote",
        mark,
    )


def _as_dict(listed: Listed) -> dict[str, object]:
    manifest = listed.manifest
    about: dict[str, object] = {"version": listed.version, "champion": listed.champion}
    if manifest is None:
        return about | {"problem": listed.problem}
    return about | {
        "created": manifest.created.isoformat(),
        "run_id": manifest.run_id,
        "accuracy": manifest.metrics.accuracy,
        "accuracy_interval": list(manifest.metrics.accuracy_interval),
        "loss": manifest.metrics.loss,
        "bytes": _bytes(manifest),
        "promote": manifest.verdict.promote,
        "reasons": list(manifest.verdict.reasons),
        "data": asdict(manifest.data),
        "seconds": manifest.seconds,
    }


def _bytes(manifest: Manifest) -> int:
    return sum(record.size for record in manifest.files.values())


def _age(created: datetime) -> str:
    seconds = int((datetime.now(UTC) - created).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def _table(*columns: str, title: str = "") -> Table:
    """A table; a column whose name begins with > is aligned to the right."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    return table


def _print(table: Table) -> None:
    console = Console(highlight=False)
    # A file or a pipe has no width: nothing is folded or cut there.
    console.print(table, width=None if console.is_terminal else 10_000, soft_wrap=False)


def _json(content: object) -> None:
    print(json.dumps(content, indent=2))

"""Results of the commands on standard output: tables for a person, JSON for scripts."""

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
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
        _json({**about, **dataclasses.asdict(metrics)})
        return
    low, high = metrics.accuracy_interval
    print(f"{manifest.name} version {manifest.version}, {metrics.rows:,} test rows")
    print(f"accuracy           {metrics.accuracy:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    print(f"loss               {metrics.loss:.4f}")
    print(f"calibration error  {metrics.calibration_error:.4f}")
    table = _table("class", ">precision", ">recall", ">F1", ">support")
    for c in metrics.per_class:
        scores = (f"{score:.4f}" for score in (c.precision, c.recall, c.f1))
        table.add_row(one_line(str(c.label)), *scores, f"{c.support:,}")
    _print(table)


def models(names: Sequence[tuple[str, Sequence[Listed]]], *, as_json: bool) -> None:
    """The versions of each named model, newest first."""
    if as_json:
        _json({name: [_as_dict(listed) for listed in versions] for name, versions in names})
        return
    for name, versions in names:
        table = _table(
            "version", ">accuracy", ">loss", ">size", ">age", "verdict", "champion", title=name
        )
        for listed in versions:
            table.add_row(*_row(listed))
        _print(table)


def verification(result: Verification, *, as_json: bool) -> None:
    """What hashing every file again gave."""
    if as_json:
        _json(dataclasses.asdict(result))
        return
    table = _table("", "file", ">size", "seen")
    for file in result.files:
        mark = "[red]✗" if file.problem else "[green]✓"
        table.add_row(mark, one_line(file.path), _size(file.size), file.problem or "as published")
    _print(table)


def diagnosis(checks: Sequence[Check], *, as_json: bool) -> None:
    """What the doctor found."""
    if as_json:
        _json([{"name": c.name, "ok": c.error is None, "detail": c.detail} for c in checks])
        return
    table = _table("", "check", "found")
    for check in checks:
        mark = "[green]✓" if check.error is None else "[red]✗"
        hint = f"\n→ {check.error.hint}" if check.error and check.error.hint else ""
        table.add_row(mark, check.name, one_line(check.detail) + hint)
    _print(table)


def _row(listed: Listed) -> tuple[str, ...]:
    version = str(listed.version)
    if listed.manifest is None:
        return (version, "", "", "", "", f"[red]broken: {one_line(listed.problem)}", "")
    manifest = listed.manifest
    size = sum(entry.size for entry in manifest.files.values())
    return (
        version,
        f"{manifest.metrics.accuracy:.4f}",
        f"{manifest.metrics.loss:.4f}",
        _size(size),
        _age(manifest.created),
        "promote" if manifest.verdict.promote else "do not promote",
        "[green]champion" if listed.champion else "",
    )

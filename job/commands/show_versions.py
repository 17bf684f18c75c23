"""Versions on standard output: the table of all, two side by side, and what `prune` removes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby

from rich.markup import escape

from job.commands.compare import Line
from job.commands.show import put, put_json, table
from job.process.log import one_line
from job.registry import Listed
from job.registry.manifest import SHA256, Manifest
from job.registry.prune import Plan
from job.report.wording import duration

OTHER_DATA = "≈"
"""Marks a change between accuracies that were measured on different data."""


def models(
    named: Mapping[str, Sequence[Listed]], store: str, others: Sequence[str], *, as_json: bool
) -> None:
    """The versions of each model, the newest first; when there are none, the other names.

    The interval is the accuracy's; the change is in points against the champion's accuracy, and
    marked where the two were measured on different data; rows are for training and validation;
    time is the run's.
    """
    if as_json:
        put_json({"models": {name: [*map(_as_dict, listed)] for name, listed in named.items()}})
        return
    for name, listed in named.items():
        reigning = next((each.manifest for each in listed if each.champion), None)
        rows = table(
            ">version", ">age", ">accuracy", ">95 %", ">change", ">rows", ">time", "verdict",
            title=name,
        )  # fmt: skip
        for each in listed:
            rows.add_row(*_row(each, reigning))
        if listed:
            put(rows)
        if any(_change(each, reigning).startswith(OTHER_DATA) for each in listed):
            print(
                f"{OTHER_DATA}  measured on other data than the champion; "
                "`mlp-job evaluate` scores on any."
            )
        for each in listed:
            if each.problem:
                print(f"{each.version}: {one_line(each.problem)}")
        if any(each.champion and each.problem for each in listed):
            print(
                "The champion cannot be read. `mlp-job rollback` goes back to the one before, "
                "`mlp-job promote VERSION` chooses another."
            )
    if others:
        print(f"No versions of {', '.join(named)} in {store}. Names there: {', '.join(others)}.")
    elif not any(named.values()):
        print(f"No versions in {store} yet. `mlp-job train` makes one.")


def comparison(title: tuple[str, str], lines: Sequence[Line], *, as_json: bool) -> None:
    """Two versions side by side; what differs is marked."""
    if as_json:
        sections = groupby(lines, key=lambda line: line.section)
        put_json(
            {
                section: {line.name: [line.left, line.right] for line in group}
                for section, group in sections
            }
        )
        return
    rows = table("", "", *title, "")
    section = ""
    for line in lines:
        if section and line.section != section:
            rows.add_section()
        differs = line.left != line.right
        rows.add_row(
            escape(one_line(line.section)) if line.section != section else "",
            escape(one_line(line.name)),
            _shown(line.left),
            _shown(line.right),
            "[yellow]≠" if differs else "",
        )
        section = line.section
    put(rows, width=100)


def pruning(decided: Plan, *, removed: bool, versioned: bool, as_json: bool) -> None:
    """What goes, and what stays why; and whether a versioned bucket keeps the bytes."""
    if as_json:
        kept = {str(version): why for version, why in sorted(decided.kept.items())}
        about = {"removed": removed, "doomed": list(decided.doomed), "kept": kept}
        put_json(about | {"versioned": versioned})
        return
    rows = table(">version", "", "")
    for version in sorted({*decided.doomed, *decided.kept}):
        word = "removed" if removed else "would be removed"
        doomed = version in decided.doomed
        rows.add_row(str(version), f"[red]{word}" if doomed else "kept", decided.kept.get(version))
    put(rows)
    if decided.doomed and not removed:
        print("Nothing was removed; --yes removes.")
    if versioned:
        print(
            "The bucket is versioned: it has delete markers now, and still keeps the bytes. A "
            "lifecycle rule on noncurrent versions frees the space (job/storage/README.md)."
        )


def _row(listed: Listed, reigning: Manifest | None) -> tuple[str, ...]:
    manifest = listed.manifest
    verdict = "[green]champion" if listed.champion else listed.fate
    if manifest is None:
        damaged = "[red]damaged[/] champion" if listed.champion else "[red]damaged"
        return (str(listed.version), *[""] * 6, damaged)
    low, high = manifest.metrics.accuracy_interval
    return (
        str(listed.version),
        _age(manifest.created),
        f"{manifest.metrics.accuracy:.4f}",
        f"{low:.3f}–{high:.3f}",
        _change(listed, reigning),
        f"{manifest.data.train_rows + manifest.data.validation_rows:,}",
        duration(manifest.seconds),
        verdict,
    )


def _change(listed: Listed, reigning: Manifest | None) -> str:
    manifest = listed.manifest
    if manifest is None or reigning is None or listed.champion:
        return ""
    mark = OTHER_DATA if manifest.data.digest != reigning.data.digest else ""
    return f"{mark}{100 * (manifest.metrics.accuracy - reigning.metrics.accuracy):+.2f}"


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
        "bytes": sum(record.size for record in manifest.files.values()),
        "promote": manifest.verdict.promote,
        "reasons": list(manifest.verdict.reasons),
        "comparisons": [asdict(each) for each in manifest.verdict.comparisons],
        "fate": listed.fate,
        "data": asdict(manifest.data),
        "seconds": manifest.seconds,
        "fingerprint": manifest.fingerprint,
    }


def _age(created: datetime) -> str:
    seconds = int((datetime.now(UTC) - created).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value)) or "–"
    if isinstance(value, str) and SHA256.fullmatch(value):
        return f"{value[:12]}…"  # the mark tells whether all of it is the same
    return "–" if value is None else escape(one_line(str(value)))

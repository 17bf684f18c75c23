"""compare: two published versions side by side."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from job.commands.app import STORE, VERSIONS, AsJson, app, example, versions_of
from job.config.options import from_config
from job.errors import DataError

if TYPE_CHECKING:
    from job.registry import Versions
    from job.registry.manifest import Manifest


@app.command(
    rich_help_panel=VERSIONS, epilog=example("mlp-job compare champion latest --name churn")
)
@from_config(STORE)
def compare(
    left: Annotated[str, typer.Argument(metavar="A", help="A version number, champion or latest.")],
    right: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    as_json: AsJson = False,
    **store: Any,
) -> None:
    """Show two versions side by side: configuration, data, metrics, per class."""
    versions = versions_of(**store)
    sides = [_read(versions, ref) for ref in (left, right)]
    title = (f"version {sides[0].manifest.version}", f"version {sides[1].manifest.version}")
    _show(title, _lines(*sides), as_json=as_json)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One version: its manifest, and what its metrics.json says."""

    manifest: "Manifest"
    metrics: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One property of both; None where a version has none."""

    section: str
    name: str
    left: object
    right: object


def _read(versions: "Versions", ref: str) -> Side:
    """Fetches what there is to compare, and checks its hash.

    Raises:
        DataNotFound: No such version, or its metrics.json is lost.
        DataError: The manifest or metrics.json is damaged.
    """
    from job.process.scratch import scratch

    manifest = versions.resolve(ref)
    name = f"{manifest.attempt}/metrics.json"
    with scratch() as folder:
        versions.fetch(manifest, [name], folder)
        try:
            metrics = json.loads((folder / name).read_text())
        except ValueError as exc:
            raise DataError(
                f"{manifest.name} version {manifest.version}, {name}: expected JSON. "
                f"Received: {exc}.",
                hint="Compare with another version, or train this one again.",
            ) from exc
    return Side(manifest=manifest, metrics=metrics)


def _lines(left: Side, right: Side) -> tuple[Line, ...]:
    """What the two are, property by property; pure."""
    ours, theirs = dict(_properties(left)), dict(_properties(right))
    keys = list(dict.fromkeys((*ours, *theirs)))
    sections = list(dict.fromkeys(section for section, _ in keys))
    keys.sort(key=lambda key: sections.index(key[0]))  # what only one has stands in its section
    return tuple(
        Line(section=key[0], name=key[1], left=ours.get(key), right=theirs.get(key)) for key in keys
    )


def _properties(side: Side) -> Iterator[tuple[tuple[str, str], object]]:
    manifest = side.manifest
    yield ("run", "created"), manifest.created.isoformat()
    yield ("run", "run id"), manifest.run_id
    yield ("run", "seconds"), manifest.seconds
    yield ("run", "device"), manifest.device.get("name")
    yield ("run", "metric"), manifest.metric
    yield ("run", "verdict"), "promote" if manifest.verdict.promote else "do not promote"
    for name, value in manifest.config.items():
        yield ("configuration", name), value
    for name, value in asdict(manifest.data).items():
        yield ("data", name), value
    for name, value in manifest.library_versions.items():
        yield ("versions", name), value
    for name in ("accuracy", "accuracy_interval", "loss", "calibration_error"):
        yield ("metrics", name), side.metrics.get(name)
    for name, value in (side.metrics.get("scores") or {}).items():
        if name != "accuracy":
            yield ("metrics", name), value
    if side.manifest.threshold:
        yield ("metrics", "threshold"), side.manifest.threshold.value
    for name, value in (side.metrics.get("baseline") or {}).items():
        yield ("baseline", name), value
    for score in side.metrics.get("per_class", ()):
        for name in ("precision", "recall", "f1", "support"):
            yield (f"class {score['label']}", name), score[name]


def _show(title: tuple[str, str], lines: Sequence[Line], *, as_json: bool) -> None:
    """Two versions side by side; what differs is marked."""
    from job.commands.show import put, put_json, safe, table

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
            safe(line.section) if line.section != section else "",
            safe(line.name),
            _shown(line.left),
            _shown(line.right),
            "[yellow]≠" if differs else "",
        )
        section = line.section
    put(rows, width=100)


def _shown(value: object) -> str:
    from job.commands.show import safe
    from job.registry.manifest import SHA256

    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return " ".join(map(_shown, value)) or "–"
    if isinstance(value, str) and SHA256.fullmatch(value):
        return f"{value[:12]}…"  # the mark tells whether all of it is the same
    return "–" if value is None else safe(str(value))

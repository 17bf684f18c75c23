"""Two published versions side by side: configuration, data, metrics, classes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from job.errors import DataError
from job.process.scratch import scratch
from job.registry.manifest import Manifest

if TYPE_CHECKING:
    from job.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Side:
    """One version: its manifest, and what its metrics.json says."""

    manifest: Manifest
    metrics: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One property of both; None where a version has none."""

    section: str
    name: str
    left: object
    right: object


def read(registry: "Registry", ref: str) -> Side:
    """Fetches what there is to compare, and checks its hash.

    Raises:
        DataNotFound: No such version, or its metrics.json is lost.
        DataError: The manifest or metrics.json is damaged.
    """
    manifest = registry.resolve(ref)
    name = f"{manifest.attempt}/metrics.json"
    with scratch() as folder:
        registry.fetch(manifest, [name], folder)
        try:
            metrics = json.loads((folder / name).read_text())
        except ValueError as exc:
            raise DataError(
                f"{manifest.name} version {manifest.version}, {name}: expected JSON. "
                f"Received: {exc}.",
                hint="Compare with another version, or train this one again.",
            ) from exc
    return Side(manifest=manifest, metrics=metrics)


def lines(left: Side, right: Side) -> tuple[Line, ...]:
    """What the two are, property by property; pure."""
    ours, theirs = dict(_properties(left)), dict(_properties(right))
    return tuple(
        Line(section=key[0], name=key[1], left=ours.get(key), right=theirs.get(key))
        for key in [*ours, *(key for key in theirs if key not in ours)]
    )


def _properties(side: Side) -> Iterator[tuple[tuple[str, str], object]]:
    manifest = side.manifest
    yield ("run", "created"), manifest.created.isoformat()
    yield ("run", "run id"), manifest.run_id
    yield ("run", "seconds"), manifest.seconds
    yield ("run", "device"), manifest.device.get("name")
    yield ("run", "verdict"), "promote" if manifest.verdict.promote else "do not promote"
    for name, value in manifest.config.items():
        yield ("configuration", name), value
    for name, value in asdict(manifest.data).items():
        yield ("data", name), value
    for name, value in manifest.library_versions.items():
        yield ("versions", name), value
    for name in ("accuracy", "accuracy_interval", "loss", "calibration_error"):
        yield ("metrics", name), side.metrics.get(name)
    for score in side.metrics.get("per_class", ()):
        for name in ("precision", "recall", "f1", "support"):
            yield (f"class {score['label']}", name), score[name]

"""The challenger against the champion, and the best version before it, on the same test rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from job import evaluation
from job.config import Config
from job.data.dataset import Classes, Dataset
from job.data.schema import Schema
from job.errors import DataError, DataNotFound
from job.evaluation.metrics import Metrics
from job.gate import decision
from job.gate.decision import Rival, Rules
from job.inference import scoring
from job.process.scratch import scratch
from job.registry.championship import Decide, Published
from job.registry.manifest import InputRecord, Manifest, input_of
from job.registry.pointer import Champion, reigned, second_chance
from job.registry.verdict import Role, Verdict

if TYPE_CHECKING:
    from job.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A new model as the gate sees it.

    Attributes:
        classes: The labels, in the order of its outputs.
        input: What it takes.
        schema: Its columns, when it takes a table.
        rows: (rows, *shape), or the columns of a table, each (rows,); the test rows.
        y: (rows,), int32; their classes.
        predicted: (rows,); what it says of them.
        metrics: Its scores on these rows.
        fingerprint: What it was made from.
    """

    classes: Classes
    input: InputRecord
    schema: Schema | None
    rows: scoring.Rows
    y: NDArray[np.int32]
    predicted: NDArray[np.int64]
    metrics: Metrics
    fingerprint: str | None


def challenger(
    dataset: Dataset, probabilities: NDArray[np.float32], metrics: Metrics, made_from: str
) -> Challenger:
    """The model that was just trained.

    Args:
        dataset: What it was trained and scored on.
        probabilities: (test rows, classes), float32; what it says.
        metrics: Its scores.
        made_from: Its fingerprint.
    """
    return Challenger(
        classes=dataset.classes,
        input=input_of(dataset),
        schema=dataset.table.schema if dataset.table else None,
        rows=dataset.table.test if dataset.table else dataset.test.x,
        y=dataset.test.y,
        predicted=probabilities.argmax(axis=1),
        metrics=metrics,
        fingerprint=made_from,
    )


def judge(registry: "Registry", challenger: Challenger, config: Config) -> Decide:
    """How the new version is judged against whoever reigns at the moment.

    The device must be prepared. A champion that is asked about twice is scored once.
    """
    known: dict[int | None, Verdict] = {}

    def decide(champion: Champion | None) -> Verdict:
        version = champion.version if champion else None
        if version not in known:
            known[version] = _decided(registry, challenger, champion, config)
        return known[version]

    return decide


def retrial(
    registry: "Registry", published: Published, config: Config, warn: scoring.Warn
) -> Decide:
    """How a version that an earlier try has published is judged.

    Its verdict stands as long as the champion is the one that it was measured against; against
    another one it is scored again, on the data that its manifest names.
    """
    manifest = published.manifest

    def decide(champion: Champion | None) -> Verdict:
        if manifest.verdict.champion == (champion.version if champion else None):
            return manifest.verdict
        with scratch() as folder:
            challenger = _published(registry, manifest, folder, warn)
        return _decided(registry, challenger, champion, config)

    return decide


def _published(
    registry: "Registry", manifest: Manifest, folder: Path, warn: scoring.Warn
) -> Challenger:
    rows, y = scoring.test_rows(
        manifest, manifest.data.uri, test_data=manifest.data.test_uri, folder=folder, warn=warn
    )
    probabilities = scoring.probabilities(
        scoring.load(registry, manifest, folder), rows, manifest.schema
    )
    return Challenger(
        classes=manifest.classes,
        input=manifest.input,
        schema=manifest.schema,
        rows=rows,
        y=y,
        predicted=probabilities.argmax(axis=1),
        metrics=evaluation.evaluate(probabilities, y, manifest.classes),
        fingerprint=manifest.fingerprint,
    )


def _decided(
    registry: "Registry", challenger: Challenger, champion: Champion | None, config: Config
) -> Verdict:
    rivals = []
    if champion:
        rivals.append(_champion(registry, champion, challenger))
        rivals += _best(registry, champion, challenger)
    return decision.decide(
        accuracy=challenger.metrics.accuracy,
        recalls={
            score.label: score.recall for score in challenger.metrics.per_class if score.support
        },
        rivals=rivals,
        objection=second_chance(champion, challenger.fingerprint),
        rules=Rules(
            min_accuracy=config.gate.min_accuracy,
            min_recall=config.gate.min_recall,
            margin=config.gate.margin,
            confidence=config.gate.confidence,
        ),
    )


def _champion(registry: "Registry", champion: Champion, challenger: Challenger) -> Rival:
    try:
        return _scored(registry, registry.resolve("champion"), "champion", challenger)
    except (DataError, DataNotFound) as exc:
        return Rival(version=champion.version, role="champion", obstacle=exc.message.rstrip("."))


def _best(registry: "Registry", champion: Champion, challenger: Challenger) -> list[Rival]:
    """The version with the highest accuracy on record that ever reigned and can be scored.

    Without it, every night's model could be a margin worse than the last one's.
    """
    listed = registry.listed(sorted(reigned(champion) - {champion.version}))
    manifests = [each.manifest for each in listed if each.manifest]
    for manifest in sorted(manifests, key=lambda m: (m.metrics.accuracy, m.version), reverse=True):
        try:
            rival = _scored(registry, manifest, "best", challenger)
        except (DataError, DataNotFound):
            continue  # damaged since; `verify` tells, and the next best stands in
        if not rival.obstacle:
            return [rival]
    return []


def _scored(registry: "Registry", manifest: Manifest, role: Role, challenger: Challenger) -> Rival:
    obstacle = _obstacle(manifest, challenger)
    if obstacle:
        return Rival(version=manifest.version, role=role, obstacle=obstacle)
    with scratch() as folder:
        model = scoring.loaded(registry, manifest, folder)
    said = scoring.probabilities(model, challenger.rows, manifest.schema).argmax(axis=1)
    right = said == challenger.y
    ours = challenger.predicted == challenger.y
    return Rival(
        version=manifest.version,
        role=role,
        rows=len(right),
        gained=int((ours & ~right).sum()),
        lost=int((right & ~ours).sum()),
        accuracy=float(right.mean()),
    )


def _obstacle(manifest: Manifest, challenger: Challenger) -> str:
    """Why no row can be put to both; empty when it can."""
    theirs, ours = manifest.classes, challenger.classes
    if theirs != ours:
        only = [
            str(label)[:30]
            for label in (*theirs, *ours)
            if label not in theirs or label not in ours
        ]
        return f"they do not tell the same classes apart ({', '.join(only[:5])})"
    if manifest.schema or challenger.schema:
        old, new = _columns(manifest.schema), _columns(challenger.schema)
        others = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if others:
            return f"they do not take the same columns ({', '.join(map(repr, others[:5]))})"
    elif manifest.input != challenger.input:
        return (
            f"it takes rows of shape {manifest.input.shape} {manifest.input.dtype}, this model "
            f"{challenger.input.shape} {challenger.input.dtype}"
        )
    return ""


def _columns(schema: Schema | None) -> Mapping[str, str]:
    return {column.name: column.dtype for column in schema.columns} if schema else {}

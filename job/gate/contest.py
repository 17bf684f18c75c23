"""The challenger against the champion, and the best version before it, on the same test rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from job import evaluation
from job.config import Config
from job.data.dataset import Classes, Dataset, Tabular
from job.data.findings import Finding, holding, sentence
from job.data.schema import Schema
from job.errors import DataError, DataNotFound
from job.evaluation.metrics import Metrics
from job.gate import decision
from job.gate.decision import Rival, Rules
from job.inference import scoring
from job.process.scratch import scratch
from job.registry import Published, Versions, promotion
from job.registry.manifest import InputRecord, Manifest, input_of
from job.registry.pointer import Champion, reigned, second_chance
from job.registry.verdict import Role, Verdict


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A new model as the gate sees it.

    Attributes:
        classes: The labels, in the order of its outputs.
        input: What it takes.
        schema: Its columns, when it takes a table.
        rows: (rows, *shape), or the columns of a table, each (rows,); the test rows.
        table: The same rows for models that read a table otherwise, when it takes one.
        findings: About its data.
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
    table: Tabular | None = None
    findings: tuple[Finding, ...] = ()


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
        table=dataset.table,
        findings=dataset.findings,
    )


def settle(
    versions: Versions,
    published: Published,
    config: Config,
    challenger: Challenger | None = None,
    warn: scoring.Warn = lambda _: None,
) -> Published:
    """Makes a version champion when the verdict says so; a run does so once at most.

    Its own verdict stands as long as the champion is the one that it was measured against; against
    another one it is judged again. The device must be prepared for that.

    Args:
        versions: The model's versions.
        published: The version.
        config: The rules.
        challenger: The version as the gate sees it; by default it is scored on the data that its
            manifest names.
        warn: Gets what a person should know of that data.

    Returns:
        The version with the final verdict, judged against the champion of that moment.
    """
    for _ in range(promotion.SWAPS):
        champion, etag = versions.pointer.read()
        verdict = promotion.settled(champion, published)
        if verdict is None and published.verdict.champion == (champion and champion.version):
            verdict = published.verdict
        if verdict is None:
            challenger = challenger or retrieved(versions, published.manifest, warn)
            verdict = judge(versions, challenger, champion, config)
        if promotion.carry_out(versions, published, verdict, champion, etag):
            return replace(published, verdict=verdict)
    raise promotion.never_still(versions.name)


def retrieved(versions: Versions, manifest: Manifest, warn: scoring.Warn) -> Challenger:
    """A published version as the gate sees it, scored on the data that its manifest names."""
    with scratch() as folder:
        rows, y = scoring.test_rows(
            manifest, manifest.data.uri, test_data=manifest.data.test_uri, folder=folder, warn=warn
        )
        model = scoring.load(versions, manifest, folder)
    probabilities = scoring.probabilities(model, rows, manifest.schema)
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


def judge(
    versions: Versions, challenger: Challenger, champion: Champion | None, config: Config
) -> Verdict:
    """The verdict on a new model against a champion; the device must be prepared.

    Args:
        versions: The model's versions.
        challenger: The new model.
        champion: What the pointer says; None when there is no champion.
        config: The rules.
    """
    rivals = []
    if champion:
        rivals.append(_champion(versions, champion, challenger))
        rivals += _best(versions, champion, challenger)
    return decision.decide(
        accuracy=challenger.metrics.accuracy,
        recalls={
            score.label: score.recall for score in challenger.metrics.per_class if score.support
        },
        rivals=rivals,
        objection=second_chance(champion, challenger.fingerprint)
        or _held_back(champion, challenger, config),
        rules=Rules(
            min_accuracy=config.gate.min_accuracy,
            min_recall=config.gate.min_recall,
            margin=config.gate.margin,
            confidence=config.gate.confidence,
        ),
    )


def _held_back(champion: Champion | None, challenger: Challenger, config: Config) -> str:
    """Why the champion stays when data lost classes or rows to assumptions; else empty."""
    if champion is None:
        return ""
    return " ".join(map(sentence, holding(challenger.findings, config.data.allow)))


def _champion(versions: Versions, champion: Champion, challenger: Challenger) -> Rival:
    try:
        return _scored(versions, versions.resolve("champion"), "champion", challenger)
    except (DataError, DataNotFound) as exc:
        return Rival(version=champion.version, role="champion", obstacle=exc.message.rstrip("."))


def _best(versions: Versions, champion: Champion, challenger: Challenger) -> list[Rival]:
    """The version with the highest accuracy on record that ever reigned and can be scored.

    Without it, every night's model could be a margin worse than the last one's.
    """
    listed = versions.listed(sorted(reigned(champion) - {champion.version}))
    manifests = [each.manifest for each in listed if each.manifest]
    for manifest in sorted(manifests, key=lambda m: (m.metrics.accuracy, m.version), reverse=True):
        try:
            rival = _scored(versions, manifest, "best", challenger)
        except (DataError, DataNotFound):
            continue  # damaged since; `verify` tells, and the next best stands in
        if not rival.obstacle:
            return [rival]
    return []


def _scored(versions: Versions, manifest: Manifest, role: Role, challenger: Challenger) -> Rival:
    obstacle = _obstacle(manifest, challenger)
    if obstacle:
        return Rival(version=manifest.version, role=role, obstacle=obstacle)
    with scratch() as folder:
        model = scoring.loaded(versions, manifest, folder)
    rows = challenger.rows
    if challenger.table and manifest.schema:
        rows = challenger.table.rows_for(manifest.schema)
    said = scoring.probabilities(model, rows, manifest.schema).argmax(axis=1)
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
    moved = next((each for each in challenger.findings if each.code == "split-moved"), None)
    if moved:
        return sentence(moved).rstrip(".")
    if manifest.schema and challenger.table:
        source = challenger.table.source
        gone = [c.name for c in manifest.schema.columns if source.column(c.name) is None]
        if gone:
            return f"it takes columns that are not there ({', '.join(map(repr, gone[:5]))})"
    elif manifest.schema or challenger.schema:
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

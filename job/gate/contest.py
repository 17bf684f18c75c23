"""The challenger against the champion, and the best version before it, on the same test rows."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job import evaluation
from job.config import Config
from job.config.gate import Metric
from job.data.dataset import Classes, Dataset, Tabular
from job.data.findings import Finding, holding, sentence
from job.data.place import counts
from job.data.schema import Schema
from job.errors import DataError, DataNotFound
from job.evaluation import scores
from job.evaluation.metrics import Metrics
from job.evaluation.paired import Answers
from job.evaluation.threshold import Threshold, decide
from job.gate import decision, rules
from job.gate.decision import Rival
from job.gate.rules import Rules
from job.inference import scoring
from job.process.scratch import scratch
from job.record import Fit
from job.registry import Published, Versions, promotion
from job.registry.fingerprint import fingerprint
from job.registry.manifest import InputRecord, Manifest, input_of, rank
from job.registry.pointer import Champion, champions, objection_to_repeat
from job.registry.verdict import Role, Verdict


@dataclass(frozen=True, kw_only=True)
class Challenger:
    """A new model as the gate sees it.

    Attributes:
        classes: The labels, in the order of its outputs.
        input: What it takes.
        schema: Its columns, when it takes a table.
        rows: The test rows.
        pictures: The same for models of images of another size: the shape of one → rows.
        findings: About its data.
        y: (rows,), int32; their classes.
        answers: What it answers on these rows.
        metrics: Its scores on these rows.
        rules: When it is promoted.
        shares: (classes,); each class's share of the training rows.
        training_auc: Its ROC AUC on its training and validation rows.
        options: The options that made it.
        fingerprint: What it was made from.
    """

    classes: Classes
    input: InputRecord
    schema: Schema | None
    rows: scoring.Rows
    y: NDArray[np.int32]
    answers: Answers
    metrics: Metrics
    rules: Rules
    shares: NDArray[np.float64]
    training_auc: float | None
    options: Mapping[str, Any]
    fingerprint: str | None
    pictures: Callable[[tuple[int, ...]], Any] | None = None
    findings: tuple[Finding, ...] = ()


def challenger(dataset: Dataset, fit: Fit, metric: Metric) -> Challenger:
    """A model that was just trained.

    Args:
        dataset: What it was trained and scored on.
        fit: The model and its scores.
        metric: What versions are compared by.
    """
    return Challenger(
        classes=dataset.classes,
        input=input_of(dataset),
        schema=dataset.schema,
        rows=dataset.table or dataset.test.x,
        y=dataset.test.y,
        answers=Answers(probabilities=fit.probabilities, predicted=fit.predicted),
        metrics=fit.metrics,
        rules=Rules.of(fit.config, metric),
        shares=dataset.shares,
        training_auc=fit.training_auc,
        options=fit.config.model_options(),
        fingerprint=fingerprint(fit.config, dataset.digest, fit.library_versions),
        pictures=dataset.pictures,
        findings=dataset.findings,
    )


def choose_metric(versions: Versions, config: Config, dataset: Dataset) -> tuple[Metric, str]:
    """What versions are compared by, and why, in a few words.

    The option decides, or else the champion's, or else what suits the classes.
    """
    if config.gate.metric:
        return config.gate.metric, "--metric"
    champion = reigning(versions)
    if champion and champion.metric:
        return champion.metric, f"as version {champion.version}, the champion"
    shares = dataset.shares
    metric = scores.default_metric(shares)
    rarest = str(dataset.classes[int(shares.argmin())])[:60]
    if metric == "accuracy":
        return metric, "the classes are about even"
    return metric, (
        f"the classes are uneven: {100 * shares.min():.2g}% of the training rows are {rarest!r}, "
        "and accuracy can be won by ignoring them"
    )


def reigning(versions: Versions) -> Manifest | None:
    """The champion's manifest; None when there is none that can be read."""
    try:
        return versions.resolve("champion")
    except (DataError, DataNotFound):
        return None


def _answers(
    probabilities: NDArray[np.float32], classes: Classes, threshold: Threshold | None
) -> Answers:
    return Answers(probabilities=probabilities, predicted=decide(probabilities, classes, threshold))


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
            challenger = challenger or retrieved(versions, published.manifest, config, warn)
            verdict = judge(versions, challenger, champion)
        if promotion.carry_out(versions, published, verdict, champion, etag):
            return replace(published, verdict=verdict)
    raise promotion.never_still(versions.name)


def retrieved(
    versions: Versions, manifest: Manifest, config: Config, warn: scoring.Warn
) -> Challenger:
    """A published version as the gate sees it, scored on the data that its manifest names."""
    with scratch() as folder:
        rows, y = scoring.test_rows(
            manifest, manifest.data.uri, test_data=manifest.data.test_uri, folder=folder, warn=warn
        )
        model = scoring.load(versions, manifest, folder)
    probabilities = scoring.probabilities(model, rows, y, manifest.schema)
    return Challenger(
        classes=manifest.classes,
        input=manifest.input,
        schema=manifest.schema,
        rows=rows,
        y=y,
        answers=_answers(probabilities, manifest.classes, manifest.threshold),
        metrics=evaluation.evaluate(
            probabilities, y, manifest.classes, threshold=manifest.threshold
        ),
        rules=Rules.of(config, manifest.metric or "accuracy"),
        shares=counts(y, len(manifest.classes)) / len(y),
        training_auc=manifest.metrics.training_auc,
        options=Config.recorded(manifest.config).model_options(),
        fingerprint=manifest.fingerprint,
    )


def judge(versions: Versions, challenger: Challenger, champion: Champion | None) -> Verdict:
    """The verdict on a new model against a champion; the device must be prepared.

    Args:
        versions: The model's versions.
        challenger: The new model.
        champion: What the pointer says; None when there is no champion.
    """
    rivals: list[Rival] = []
    trail: tuple[float, ...] = ()
    record: tuple[float, ...] = ()
    reigns = 1
    findings = rules.useless(
        challenger.rules.metric,
        challenger.answers,
        challenger.y,
        challenger.classes,
        challenger.shares,
    )
    if champion:
        reigned = champions(champion)
        listed = versions.listed(sorted(reigned))
        earlier = [each.manifest for each in listed if each.manifest]
        trail, record = _trail(earlier, champion, challenger)
        reigns = len(reigned)
        rivals.append(_champion(versions, champion, challenger))
        rivals += _best(versions, champion, challenger, earlier)
        findings += _shuffled(versions, challenger)
        findings += holding(challenger.findings, challenger.rules.allow)
    return decision.decide(
        answers=challenger.answers,
        y=challenger.y,
        recalls={
            score.label: score.recall for score in challenger.metrics.per_class if score.support
        },
        rivals=rivals,
        reigns=reigns,
        trail=trail,
        record=record,
        findings=findings,
        objection=objection_to_repeat(champion, challenger.fingerprint),
        rules=challenger.rules,
    )


def _shuffled(versions: Versions, challenger: Challenger) -> list[Finding]:
    """A finding when the training labels look shuffled beside the champion's."""
    champion = reigning(versions)
    if champion is None:
        return []
    options = Config.recorded(champion.config).model_options()
    if {**options, "seed": 0} != {**challenger.options, "seed": 0}:
        return []  # other options fit the training rows otherwise
    return rules.shuffled(challenger.training_auc, champion.metrics.training_auc)


def _trail(
    earlier: Sequence[Manifest], champion: Champion, challenger: Challenger
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """How good the champions were, by adding up their steps, and their scores with the new one's.

    See `rules.declining`. Both begin after the last champion that was not compared in this metric.
    """
    metric = challenger.rules.metric
    scored = {manifest.version: manifest.metrics.value(metric) for manifest in earlier}
    steps = {
        manifest.version: (compared.version, compared.difference)
        for manifest in earlier
        for compared in manifest.verdict.comparisons
        if compared.role == "champion" and compared.metric == metric
    }
    back, version = [0.0], champion.version
    record = [getattr(challenger.metrics.scores, metric), scored.get(version)]
    while version in steps:  # always to an older version
        version, difference = steps.pop(version)
        back.append(back[-1] - difference)
        record.append(scored.get(version))
    known = itertools.takewhile(lambda value: value is not None, record)
    signed = [scores.better_by(metric, value or 0.0, 0.0) for value in known]
    return tuple(reversed(back)), tuple(reversed(signed))


def _champion(versions: Versions, champion: Champion, challenger: Challenger) -> Rival:
    try:
        return _scored(versions, versions.resolve("champion"), "champion", challenger)
    except (DataError, DataNotFound) as exc:
        return Rival(version=champion.version, role="champion", obstacle=exc.message.rstrip("."))


def _best(
    versions: Versions, champion: Champion, challenger: Challenger, earlier: Sequence[Manifest]
) -> list[Rival]:
    """The version with the best score on record that ever reigned and can be scored.

    Without it, every night's model could be a margin worse than the last one's.
    """
    manifests = [each for each in earlier if each.version != champion.version]
    for manifest in sorted(manifests, key=partial(rank, challenger.rules.metric), reverse=True):
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
    if challenger.pictures and manifest.input != challenger.input:
        rows = challenger.pictures(manifest.input.shape)
    probabilities = scoring.probabilities(model, rows, challenger.y, manifest.schema)
    answers = _answers(probabilities, manifest.classes, manifest.threshold)
    return Rival(version=manifest.version, role=role, answers=answers)


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
    if manifest.schema and isinstance(challenger.rows, Tabular):
        source = challenger.rows.source
        gone = [c.name for c in manifest.schema.columns if source.column(c.name) is None]
        if gone:
            return f"it takes columns that are not there ({', '.join(map(repr, gone[:5]))})"
    elif manifest.schema or challenger.schema:
        old, new = _columns(manifest.schema), _columns(challenger.schema)
        others = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if others:
            return f"they do not take the same columns ({', '.join(map(repr, others[:5]))})"
    elif manifest.input != challenger.input and not (
        challenger.pictures and _takes_images(manifest.input)
    ):
        return (
            f"it takes rows of shape {manifest.input.shape} {manifest.input.dtype}, this model "
            f"{challenger.input.shape} {challenger.input.dtype}"
        )
    return ""


def _takes_images(taken: InputRecord) -> bool:
    shape = taken.shape
    return taken.dtype == "uint8" and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))


def _columns(schema: Schema | None) -> Mapping[str, str]:
    return {column.name: column.dtype for column in schema.columns} if schema else {}

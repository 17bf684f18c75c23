"""models: the table of versions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from job.commands.app import VERSIONS, AsJson, app, example
from job.config.options import config_option
from job.errors import DataNotFound
from job.process.log import one_line

if TYPE_CHECKING:
    from job.config.gate import Metric
    from job.registry import Listed
    from job.registry.manifest import Manifest

OTHER_DATA = "≈"
"""Marks a change between scores that were measured on different data."""


@app.command(
    rich_help_panel=VERSIONS,
    epilog=example("mlp-job models", "mlp-job models --name churn --store s3://models --json"),
)
def models(
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    as_json: AsJson = False,
) -> None:
    """List versions with age, scores, data and verdict, and which one is champion."""
    from job.registry import Versions, names
    from job.storage import open_store

    opened = open_store(store)
    try:
        wanted = [name] if name else names(opened)
        listed = {each: Versions(opened, each).versions() for each in wanted}
        there = [] if any(listed.values()) else names(opened)
    except DataNotFound as exc:
        raise DataNotFound(
            exc.message,
            hint="Correct --store. `mlp-job train` makes a folder; a bucket must be there.",
        ) from exc
    others = [each for each in there if each not in listed]
    _show(listed, opened.uri, others, as_json=as_json)


def _show(
    named: Mapping[str, Sequence["Listed"]], store: str, others: Sequence[str], *, as_json: bool
) -> None:
    """The versions of each model, the newest first; when there are none, the other names.

    The first score is what the champion, or else the newest version, is compared by. The interval
    is the accuracy's; the change is of the first score, against the champion's, in points where it
    is a share, and marked where the two were measured on different data; rows are for training and
    validation; time is the run's.
    """
    from job.commands.show import put, put_json, table
    from job.evaluation.scores import TITLES

    if as_json:
        put_json({"models": {name: [*map(_as_dict, listed)] for name, listed in named.items()}})
        return
    for name, listed in named.items():
        reigning = next((each.manifest for each in listed if each.champion), None)
        metric = _metric(listed, reigning)
        other = () if metric == "accuracy" else (f">{TITLES[metric]}",)
        rows = table(
            ">version", ">age", *other, ">accuracy", ">95 %", ">change", ">rows", ">time",
            "verdict", title=name,
        )  # fmt: skip
        for each in listed:
            rows.add_row(*_row(each, reigning, metric))
        if listed:
            put(rows)
        if any(_change(each, reigning, metric).startswith(OTHER_DATA) for each in listed):
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


def _metric(listed: Sequence["Listed"], reigning: "Manifest | None") -> "Metric":
    """What the versions of a model are compared by; accuracy when none says."""
    there = (reigning, *(each.manifest for each in listed))
    return next((each.metric for each in there if each and each.metric), "accuracy")


def _row(listed: "Listed", reigning: "Manifest | None", metric: "Metric") -> tuple[str, ...]:
    manifest = listed.manifest
    score = () if metric == "accuracy" else ("",)
    verdict = "[green]champion" if listed.champion else listed.status
    if manifest is None:
        damaged = "[red]damaged[/] champion" if listed.champion else "[red]damaged"
        return (str(listed.version), *score, *[""] * 6, damaged)
    from job.report.wording import duration

    if score:
        value = manifest.metrics.value(metric)
        score = ("–" if value is None else f"{value:.4f}",)
    low, high = manifest.metrics.accuracy_interval
    return (
        str(listed.version),
        _age(manifest.created),
        *score,
        f"{manifest.metrics.accuracy:.4f}",
        f"{low:.3f}–{high:.3f}",
        _change(listed, reigning, metric),
        f"{manifest.data.train_rows + manifest.data.validation_rows:,}",
        duration(manifest.seconds),
        verdict,
    )


def _change(listed: "Listed", reigning: "Manifest | None", metric: "Metric") -> str:
    from job.report.wording import points

    manifest = listed.manifest
    if manifest is None or reigning is None or listed.champion:
        return ""
    ours, theirs = (each.metrics.value(metric) for each in (manifest, reigning))
    if ours is None or theirs is None:
        return ""
    mark = OTHER_DATA if manifest.data.digest != reigning.data.digest else ""
    return mark + points(metric, ours - theirs)


def _as_dict(listed: "Listed") -> dict[str, object]:
    manifest = listed.manifest
    about: dict[str, object] = {"version": listed.version, "champion": listed.champion}
    if manifest is None:
        return about | {"problem": listed.problem}
    return about | {
        "created": manifest.created.isoformat(),
        "run_id": manifest.run_id,
        "accuracy": manifest.metrics.accuracy,
        "accuracy_interval": list(manifest.metrics.accuracy_interval),
        **manifest.metrics.named(),
        "baseline": manifest.metrics.baseline,
        "metric": manifest.metric,
        "bytes": sum(record.size for record in manifest.files.values()),
        "promote": manifest.verdict.promote,
        "reasons": list(manifest.verdict.reasons),
        "comparisons": [asdict(each) for each in manifest.verdict.comparisons],
        "fate": listed.status,
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

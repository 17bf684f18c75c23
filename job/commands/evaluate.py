"""evaluate: the scores of a published version on any labelled data."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job.commands.app import READING, STORE, USE, AsJson, Ref, app, example, read_with, versions_of
from job.config.options import config_option, from_config

if TYPE_CHECKING:
    from job.evaluation.metrics import Metrics
    from job.registry.manifest import Manifest


@app.command(
    rich_help_panel=USE,
    epilog=example(
        "mlp-job evaluate champion --name churn",
        "mlp-job evaluate 3 --name churn --data new.csv --json",
    ),
)
@from_config((*READING, *STORE))
def evaluate(
    ref: Ref,
    data: str | None = config_option("data", default=None),
    test_data: str | None = config_option("test_data"),
    as_json: AsJson = False,
    *,
    requester_pays: bool,
    unsigned_data: bool,
    **store: Any,
) -> None:
    """Score a published version, by default on the data that its manifest names."""
    from job import events
    from job.inference import scoring

    versions = versions_of(**store)  # before `read_with`: the store is read with credentials
    manifest = versions.resolve(ref)
    if data is None:
        data, test_data = manifest.data.uri, test_data or manifest.data.test_uri
    read_with(data, test_data, requester_pays=requester_pays, unsigned_data=unsigned_data)
    metrics = scoring.evaluate(
        versions, manifest, data=data, test_data=test_data, warn=events.data_warned
    )
    _show(manifest, metrics, as_json=as_json)


def _show(manifest: "Manifest", metrics: "Metrics", *, as_json: bool) -> None:
    from job.commands.show import put, put_json, safe, table
    from job.evaluation.scores import TITLES

    if as_json:
        about = {"name": manifest.name, "version": manifest.version}
        put_json({**about, **asdict(metrics)})
        return
    low, high = metrics.accuracy_interval
    print(f"{manifest.name} version {manifest.version}, {metrics.rows:,} test rows")
    print(f"accuracy           {metrics.accuracy:.4f}  (95 % interval {low:.4f} to {high:.4f})")
    print(f"calibration error  {metrics.calibration_error:.4f}")
    if metrics.threshold:
        chosen = metrics.threshold
        print(f"threshold          {chosen.value:.4g} for {safe(str(chosen.label))}")
    scored, nothing = asdict(metrics.scores), asdict(metrics.baseline)
    rows = table("score", ">model", ">baseline")
    for name, title in TITLES.items():
        cells = ("–" if each[name] is None else f"{each[name]:.4f}" for each in (scored, nothing))
        rows.add_row(title, *cells)
    put(rows)
    rows = table("class", ">precision", ">recall", ">F1", ">support")
    for c in metrics.per_class:
        scores = (f"{score:.4f}" for score in (c.precision, c.recall, c.f1))
        rows.add_row(safe(str(c.label)), *scores, f"{c.support:,}")
    put(rows)

"""train: the main job."""

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from job.commands.app import TRAIN, app, example
from job.config import Config
from job.config.options import from_config
from job.errors import GateRejected

if TYPE_CHECKING:
    from job.device.peers import Peers
    from job.record import Outcome
    from job.registry.verdict import Verdict


@app.command(
    "train",
    rich_help_panel=TRAIN,
    epilog=example(
        "mlp-job train",
        "mlp-job train --data churn.csv --label churned --name churn",
        "mlp-job train --data s3://bucket/churn/ --label churned --name churn "
        "--store s3://models --min-accuracy 0.9 --skip-unchanged",
    ),
)
@from_config()
def train(**values: Any) -> Mapping[str, object]:
    """Train, evaluate and publish a model: the main job."""
    from job import events
    from job.device.topology import topology
    from job.track import prometheus

    config = Config.of(**values)
    prometheus.check(config.process.metrics_file)
    hosts = topology(config.training, os.environ)
    if hosts is None:
        return _train(config)
    from job.device.peers import Finished, Peers
    from job.follow import follow

    with Peers(hosts, config.training.peer_timeout) as peers:
        if peers.index == 0:
            return _train(config, peers)
        with contextlib.suppress(Finished):
            follow(config, peers)
    events.following_ended(peers.index)
    return {"outcome": "followed", "worker": peers.index}


def _train(config: Config, peers: "Peers | None" = None) -> Mapping[str, object]:
    from job import events, pipeline
    from job.track import prometheus

    outcome = pipeline.run(config, peers)
    events.figures_failed(prometheus.report(config.process, outcome))
    verdict = outcome.verdict
    rejected = verdict and not verdict.promote and not config.gate.rejection_ok
    events.run_ended(
        outcome, config.publishing.store, exit_code=GateRejected.exit_code if rejected else 0
    )
    if verdict and rejected:
        raise _rejected(outcome, verdict)
    return outcome.details()


def _rejected(outcome: "Outcome", verdict: "Verdict") -> GateRejected:
    name, version = outcome.manifest.name, outcome.manifest.version
    compare = f"`mlp-job compare champion {version} --name {name}` shows both side by side; "
    promote = f"`mlp-job promote {version} --name {name}` makes it the champion by hand."
    return GateRejected(
        f"Expected a model that may become the champion. Received: version {version}. "
        + " ".join(verdict.reasons),
        hint=promote if verdict.champion is None else compare + promote,
        details={
            **outcome.details(),
            "seconds": {phase: round(value, 1) for phase, value in outcome.seconds.items()},
        },
    )

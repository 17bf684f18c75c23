"""train: the main job."""

from collections.abc import Mapping
from typing import Any

from job.commands.app import TRAIN, app, example
from job.config import Config
from job.config.options import from_config


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
    from job import pipeline

    return pipeline.run(Config.of(**values))

"""The networks that can be trained, one per file, and the layers in front of them."""

from typing import Any

from job.config import Config
from job.data.dataset import Dataset
from job.models import cnn, mlp, tabular

BUILDERS = {"mlp": mlp.build, "tabular": tabular.build, "cnn": cnn.build, "mlp cnn": cnn.build}


def build(config: Config, dataset: Dataset) -> Any:
    """The compiled network of `--model`; nothing in the configuration is open, see `plan`."""
    return BUILDERS[config.model.model](config, dataset)

"""What a model is made from, as one hash that is known before any data is fetched."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from job.config import Config, GateOptions
from job.data import identity
from job.errors import DataError, DataNotFound, UsageError
from job.models import plan
from job.registry.manifest import Manifest
from job.storage import Open, open_store

if TYPE_CHECKING:
    from job.registry import Registry


def fingerprint(
    config: Config, library_versions: Mapping[str, str], opener: Open = open_store
) -> str:
    """SHA-256 (hex) of the data's identity, the options that make the model, and all versions.

    Raises:
        DataNotFound, DataError, UsageError, AccessDenied, StoreError: As `job.data.load`.
    """
    made_from = {
        "data": identity(config.data.data, config.data, opener),
        "test_data": identity(test, config.data, opener)
        if (test := config.data.test_data)
        else None,
        "config": config.model_options(),
        "library_versions": dict(library_versions),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def made_of(config: Config, digest: str) -> str:
    """SHA-256 (hex) of what decides a run's bits, library versions and device apart.

    Args:
        config: The options; only those that make the model count.
        digest: Of the data's contents.
    """
    made_from = {"data": digest, "config": config.model_options()}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def expect_same(config: Config, digest: str, manifest: Manifest) -> None:
    """Compares options and data with those of the version that a run has published.

    Raises:
        UsageError: They are others.
    """
    recorded = Config.recorded(manifest.config)
    config = plan.resumed(config, recorded.flat())  # what is left open is as the run chose it
    if made_of(config, digest) != made_of(recorded, manifest.data.digest):
        raise UsageError(
            f"--run-id: expected the options and the data of version {manifest.version}, which "
            f"run {manifest.run_id} has published. Received: others.",
            hint="Use a new --run-id for a changed configuration or data set.",
        )


def twin(registry: "Registry", config: Config, made_from: str) -> Manifest | None:
    """The version because of which there is nothing to do, or None.

    It is the champion, or else the newest version when it was judged by the same rules; one
    whose manifest is damaged or gone is no reason to rest.
    """
    for ref in ("champion", "latest"):
        try:
            manifest = registry.resolve(ref)
        except (DataError, DataNotFound):
            continue
        same_rules = _rules(Config.recorded(manifest.config)) == _rules(config)
        if manifest.fingerprint == made_from and (ref == "champion" or same_rules):
            return manifest
    return None


def _rules(config: Config) -> GateOptions:
    return replace(config.gate, rejection_ok=False)  # the exit code is no rule

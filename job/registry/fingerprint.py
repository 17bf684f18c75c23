"""What a model is made from, as one hash that is known before any data is fetched."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from job.config import BESIDE, Config
from job.data.files.listing import identity
from job.errors import DataError, DataNotFound, UsageError
from job.registry.manifest import Manifest

if TYPE_CHECKING:
    from job.registry import Registry

GATE = ("min_accuracy", "min_recall", "margin", "confidence")
"""Options that decide on a model and do not make it."""


def fingerprint(config: Config, library_versions: Mapping[str, str]) -> str:
    """SHA-256 (hex) of the data's identity, the options that make the model, and all versions.

    Raises:
        DataNotFound, DataError, UsageError, AccessDenied, StoreError: As `job.data.load`.
    """
    made_from = {
        "data": identity(config.data),
        "test_data": identity(config.test_data) if config.test_data else None,
        "config": config.making(),
        "library_versions": dict(library_versions),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def made_of(config: Mapping[str, object], digest: str) -> str:
    """SHA-256 (hex) of what decides a run's bits, library versions and device apart.

    Args:
        config: Option → value; of those that make the model.
        digest: Of the data's contents.
    """
    making = {name: value for name, value in config.items() if name not in BESIDE}
    made_from = {"data": digest, "config": making}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def expect_same(config: Mapping[str, object], digest: str, manifest: Manifest) -> None:
    """Compares options and data with those of the version that a run has published.

    Raises:
        UsageError: They are others.
    """
    known = {name: manifest.config.get(name) for name in config}
    if made_of(config, digest) != made_of(known, manifest.data.digest):
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
        rules = {name: manifest.config.get(name) for name in GATE}
        same_rules = all(rules[name] == getattr(config, name) for name in GATE)
        if manifest.fingerprint == made_from and (ref == "champion" or same_rules):
            return manifest
    return None

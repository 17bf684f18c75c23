"""What a model is made from, as one hash that is known before any data is fetched."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from job.config import Config
from job.data.identity import identity
from job.errors import DataError, DataNotFound
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

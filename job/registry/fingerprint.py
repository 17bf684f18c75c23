"""Hashes of what a model is made from: before its data is read (source), and after (fingerprint).

The source tells files apart without reading them: by ETag in S3, and on a disk by size and time of
change, or by their contents where asked for.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from job.config import Config, GateOptions
from job.data import Dataset, identity
from job.errors import DataError, DataNotFound, UsageError
from job.models import plan
from job.registry.manifest import Manifest
from job.registry.versions import Versions
from job.storage import Open, open_store
from job.versions import library_versions


def source(
    config: Config,
    versions: Mapping[str, str],
    opener: Open = open_store,
    *,
    contents: bool = False,
) -> str:
    """SHA-256 (hex) of the data's files, the options that make the model, and all versions.

    Args:
        config: The options.
        versions: Library → version.
        opener: Opens the stores in S3.
        contents: Whether local files count by their contents, and are read for that.

    Raises:
        DataNotFound, DataError, UsageError, AccessDenied, StoreError: As `job.data.load`.
    """
    data, test = config.data.data, config.data.test_data
    return _hash(
        {
            "data": identity(data, config.data, opener, contents=contents),
            "test_data": identity(test, config.data, opener, contents=contents) if test else None,
            "config": config.model_options(),
            "library_versions": dict(versions),
        }
    )


def recognized(versions: Versions, config: Config, opener: Open) -> tuple[str, Manifest | None]:
    """The source of a new version, and the version because of which there is nothing to do.

    With `--skip-unchanged` only, local files are read, and such a version is looked for.
    """
    if not config.publishing.skip_unchanged:
        return source(config, library_versions(), opener), None
    sources = [
        source(config, library_versions(), opener, contents=contents) for contents in (False, True)
    ]
    return sources[-1], unchanged(versions, config, sources)


def fingerprint(config: Config, digest: str, versions: Mapping[str, str]) -> str:
    """SHA-256 (hex) of the data's contents, the options that make the model, and all versions."""
    return _hash(
        {
            "contents": digest,
            "config": config.model_options(),
            "library_versions": dict(versions),
        }
    )


def run_fingerprint(config: Config, digest: str, chosen: Mapping[str, object] | None) -> str:
    """SHA-256 (hex) of what decides a run's bits, library versions and device apart.

    Args:
        config: The options; only those that make the model count.
        digest: Of the data's contents.
        chosen: What the run chose for options that are open; see `plan.resumed`.
    """
    options = plan.resumed(config, chosen).model_options()
    return _hash({"data": digest, "config": options})


def expect_same(config: Config, digest: str, manifest: Manifest) -> None:
    """Compares options and data with those of the version that a run has published.

    Raises:
        UsageError: They are others.
    """
    recorded = Config.recorded(manifest.config)
    chosen = recorded.flat()  # what is left open is as the run chose it
    ours = run_fingerprint(config, digest, chosen)
    if ours != run_fingerprint(recorded, manifest.data.digest, chosen):
        raise UsageError(
            f"--run-id: expected the options and the data of version {manifest.version}, which "
            f"run {manifest.run_id} has published. Received: others.",
            hint="Use a new --run-id for a changed configuration or data set.",
        )


def expect_same_source(
    config: Config, manifest: Manifest, opener: Open, read: Callable[[], Dataset]
) -> None:
    """As `expect_same`; reads the data only when its files are not evidently those of the version.

    Args:
        config: The options.
        manifest: The version.
        opener: Opens the stores in S3.
        read: Reads the data.

    Raises:
        UsageError: They are others.
    """
    expect_same(config, manifest.data.digest, manifest)
    known = {manifest.source, manifest.fingerprint} - {None}
    same = [config.data.data, config.data.test_data] == [manifest.data.uri, manifest.data.test_uri]
    if same and known:
        # Earlier versions hashed the contents, and the options as this one reads them.
        recorded = Config.recorded(manifest.config)
        sources = (
            source(each, manifest.library_versions, opener, contents=contents)
            for contents in (False, True)
            for each in (config, recorded)
        )
        with contextlib.suppress(DataNotFound):  # data that is gone is not other data
            same = any(each in known for each in sources)
    if not same:
        expect_same(config, read().digest, manifest)


def unchanged(versions: Versions, config: Config, sources: Iterable[str]) -> Manifest | None:
    """The version because of which there is nothing to do, or None.

    It is the champion, or else the newest version when it was judged by the same rules; one
    whose manifest is damaged or gone is no reason to rest.

    Args:
        versions: The model's versions.
        config: The options.
        sources: The sources of this run, with and without the contents of local files.
    """
    sources = set(sources)
    for ref in ("champion", "latest"):
        try:
            manifest = versions.resolve(ref)
        except (DataError, DataNotFound):
            continue
        same_rules = _rules(Config.recorded(manifest.config)) == _rules(config)
        same = sources & {manifest.source, manifest.fingerprint}
        if same and (ref == "champion" or same_rules):
            return manifest
    return None


def _hash(made_from: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _rules(config: Config) -> GateOptions:
    return replace(config.gate, rejection_ok=False)  # the exit code is no rule

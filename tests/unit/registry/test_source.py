"""What is read to recognise the data of a run: nothing, unless contents are asked for."""

import dataclasses
import os
from pathlib import Path

import pytest
from drafts import draft
from registries import Registry

from job.config import Config
from job.data import Dataset
from job.errors import UsageError
from job.registry import fingerprint
from job.registry.manifest import Manifest
from job.storage import open_store

VERSIONS = {"mlp-job": "1"}


def never() -> Dataset:
    raise AssertionError("the data was read")


def published(tmp_path: Path, config: Config) -> Manifest:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/model.keras").write_bytes(b"a model")
    plain = draft("run-1")
    data = dataclasses.replace(plain.data, uri=config.data.data)
    made = dataclasses.replace(plain, config=config.flat(), data=data)
    registry = Registry(open_store(str(tmp_path / "store")), "mnist")
    return registry.publish(tmp_path / "files", made).manifest


def test_a_local_file_is_told_apart_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    path.touch()
    os.truncate(path, 1 << 42)  # reading 4 TiB would take hours
    config = Config.of(data=str(path), name="n")
    versions = Registry(open_store(str(tmp_path / "store")), "n")
    before, _ = fingerprint.recognized(versions, config, open_store)
    os.utime(path, ns=(1, 1))
    after, _ = fingerprint.recognized(versions, config, open_store)
    assert before != after


def test_a_retry_of_a_published_run_reads_no_data(tmp_path: Path) -> None:
    config = Config.of(data=str(tmp_path / "gone.npz"), name="n", epochs=3)
    manifest = published(tmp_path, config)
    fingerprint.expect_same_source(config, manifest, open_store, never)
    with pytest.raises(UsageError, match="--run-id: expected the options and the data"):
        fingerprint.expect_same_source(config.replaced(seed=1), manifest, open_store, never)


def test_data_elsewhere_is_read_to_compare_it(tmp_path: Path) -> None:
    config = Config.of(data=str(tmp_path / "here.npz"), name="n", epochs=3)
    manifest = published(tmp_path, config)
    elsewhere = config.replaced(data=str(tmp_path / "there.npz"))
    with pytest.raises(AssertionError, match="the data was read"):
        fingerprint.expect_same_source(elsewhere, manifest, open_store, never)


def test_a_local_file_that_was_changed_is_read_to_compare_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(b"rows")
    config = Config.of(data=str(path), name="n", epochs=3)
    made_from = fingerprint.source(config, VERSIONS)
    manifest = dataclasses.replace(
        published(tmp_path, config), source=made_from, library_versions=VERSIONS
    )
    fingerprint.expect_same_source(config, manifest, open_store, never)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="the data was read"):
        fingerprint.expect_same_source(config, manifest, open_store, never)
    path.unlink()
    fingerprint.expect_same_source(config, manifest, open_store, never)


def test_a_version_of_an_earlier_program_is_recognised_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    path.write_bytes(b"rows")
    config = Config.of(data=str(path), name="n", epochs=3)
    old = {"data": str(path), "name": "n", "epochs": 3, "hidden": [512], "dropout": 0.2}
    recorded = Config.recorded(old)
    assert recorded.model_options() != config.model_options()  # `--hidden` was left open
    manifest = dataclasses.replace(
        published(tmp_path, config),
        config=old,
        fingerprint=fingerprint.source(recorded, VERSIONS, contents=True),
        library_versions=VERSIONS,
    )
    fingerprint.expect_same_source(config, manifest, open_store, never)
    path.write_bytes(b"other rows")
    with pytest.raises(AssertionError, match="the data was read"):
        fingerprint.expect_same_source(config, manifest, open_store, never)

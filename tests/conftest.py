"""Fixtures that every test file may use: a clean environment, a real S3 server, stores."""

import os
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path

import kill
import pytest
import seaweed
from containers import gpu_image, image  # noqa: F401


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Where everything is installed (TESTS_MUST_RUN), a skipped test has failed.

    Only the history that a shallow clone lacks cannot be installed.
    """
    report = yield
    shallow = "this clone is shallow" in str(report.longrepr)
    if report.skipped and os.environ.get("TESTS_MUST_RUN") and not shallow:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """Nothing from the user's shell or home reaches a test: no options, profile or proxy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "MLP_JOB_")):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def s3() -> Iterator[seaweed.SeaweedFS]:
    """A SeaweedFS server, started at first use; the same one for the whole session."""
    with seaweed.serve() as server:
        yield server


@pytest.fixture(scope="session")
def bench(s3: seaweed.SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kill.Bench]:
    """A store with a champion, behind a proxy; for what happens to a real job."""
    options = shlex.split(os.environ.get("KILLS_OPTIONS", ""))
    with kill.bench(s3, "corners", tmp_path_factory.mktemp("kills"), options=options) as made:
        yield made


@pytest.fixture(scope="session")
def table_bench(
    s3: seaweed.SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[kill.Bench]:
    """The same for a table."""
    with kill.bench(s3, "churn", tmp_path_factory.mktemp("kills"), table=True) as made:
        yield made


@pytest.fixture
def s3_uri(s3: seaweed.SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix on the server; the environment holds the credentials."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(params=["folder", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place to publish to: a folder that does not exist yet, then an S3 prefix."""
    if request.param == "folder":
        return str(tmp_path / "store")
    uri: str = request.getfixturevalue("s3_uri")
    return uri

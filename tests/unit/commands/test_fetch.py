"""fetch: what a version holds, from a folder and from S3."""

import json
from pathlib import Path

import drafts
import pytest
from program import mlp_job
from registries import Registry

from job.storage import open_store

FILES = {
    "model.keras": b"a model",
    "report.html": b"<html>",
    "saved_model/saved_model.pb": b"a graph",
    "saved_model/variables/variables.index": b"weights",
    "plots/loss.png": b"a plot",
}


@pytest.fixture
def published(store_uri: str, tmp_path: Path) -> str:
    """A store with versions 1 and 2; 2 is the champion."""
    registry = Registry(open_store(store_uri), "m")
    for run_id in ("one", "two"):
        folder = tmp_path / run_id
        for path, content in FILES.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content + run_id.encode())
        registry.publish(folder, drafts.draft(run_id))
    return store_uri


def fetch(store: str, *arguments: object):
    return mlp_job("fetch", *arguments, "--name", "m", "--store", store)


def found(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_files_the_report_and_the_layout_of_serving(published: str, tmp_path: Path) -> None:
    done = fetch(published, "1", tmp_path / "all")
    assert (done.returncode, done.stderr) == (0, "")
    assert found(tmp_path / "all") == {path: FILES[path] + b"one" for path in FILES}

    done = fetch(published, "champion", tmp_path / "report", "--report")
    assert found(tmp_path / "report") == {"report.html": b"<html>two"}
    assert done.stdout == f"m version 2: {tmp_path / 'report' / 'report.html'}\n"

    for ref in ("1", "champion", "champion"):
        done = fetch(published, ref, tmp_path / "serving", "--serving")
        assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("serving/2, as it was\n")
    assert found(tmp_path / "serving") == {
        f"{version}/{path.removeprefix('saved_model/')}": FILES[path] + run_id
        for version, run_id in (("1", b"one"), ("2", b"two"))
        for path in FILES
        if path.startswith("saved_model/")
    }


def test_a_file_of_another_content_stays_and_a_missing_one_is_added(
    published: str, tmp_path: Path
) -> None:
    assert fetch(published, "1", tmp_path / "here").returncode == 0
    (tmp_path / "here/plots/loss.png").unlink()
    assert fetch(published, "1", tmp_path / "here").returncode == 0
    assert (tmp_path / "here/plots/loss.png").read_bytes() == b"a plotone"
    before = found(tmp_path / "here")
    done = fetch(published, "2", tmp_path / "here")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (2, "UsageError")
    assert found(tmp_path / "here") == before


def test_a_damaged_file_is_not_handed_out(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (tmp_path / "v").mkdir()
    (tmp_path / "v/report.html").write_bytes(b"<html>")
    Registry(open_store(str(store)), "m").publish(tmp_path / "v", drafts.draft("one"))
    (report,) = store.rglob("report.html")
    report.write_bytes(b"<HTML>")
    done = fetch(str(store), "1", tmp_path / "out", "--report")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (65, "DataError")
    assert found(tmp_path / "out") == {}
    done = fetch(str(store), "1", tmp_path / "out", "--serving")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (66, "DataNotFound")
    done = fetch(str(store), "1", tmp_path / "out", "--serving", "--report")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (2, "UsageError")
    (tmp_path / "file").touch()
    report.write_bytes(b"<html>")
    done = fetch(str(store), "1", tmp_path / "file", "--report")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (77, "AccessDenied")

"""The commands on published versions, as a person meets them when something is wrong."""

import json
import shutil
from pathlib import Path

import pytest
from program import mlp_job
from registries import Registry

from job.errors import DataError
from job.storage import open_store

STORE = Path(__file__).parents[2] / "stores" / "schema-1"
WHERE = ("--store", "store", "--name", "corners")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store: version 2 is champion, version 1 was before it."""
    shutil.copytree(STORE, tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(done) -> dict:
    return json.loads(done.stderr.splitlines()[-1])


def test_a_store_that_is_not_there(place: Path, s3_uri: str) -> None:
    (place / "file").write_text("")
    missing = s3_uri.replace("://", "://no-such-bucket-")
    for store in ("stroe", "file", missing):
        for words in ((), ("--name", "corners"), ("--json",)):
            done = mlp_job("models", "--store", store, *words)
            assert done.returncode == 66, done.stdout
            assert done.stdout == ""
            assert store in told(done)["message"]
            assert "Correct --store" in told(done)["hint"]


def test_a_store_without_versions(place: Path, s3_uri: str) -> None:
    (place / "empty").mkdir()
    for store in ("empty", s3_uri):
        done = mlp_job("models", "--store", store)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"No versions in {store} yet. `mlp-job train` makes one.\n"


def test_a_name_without_versions(place: Path) -> None:
    done = mlp_job("models", "--store", "store", "--name", "corner")
    assert done.stdout == "No versions of corner in store. Names there: corners.\n"
    assert done.returncode == 0
    done = mlp_job("models", "--store", "store", "--name", "corner", "--json")
    assert json.loads(done.stdout) == {"models": {"corner": []}}


@pytest.mark.parametrize(
    ("left", "repair"), [("nothing", ("rollback",)), ("claim", ("promote", "1"))]
)
def test_a_champion_that_is_gone(place: Path, left: str, repair: tuple[str, ...]) -> None:
    folder = place / "store/corners/versions/2"
    shutil.rmtree(folder)
    if left == "claim":
        folder.mkdir()
        (folder / "claim.json").write_text("{}")
    models = mlp_job("models", *WHERE)
    assert models.returncode == 0, models.stderr
    assert "damaged champion" in models.stdout
    assert "2: expected a manifest, received none\nThe champion cannot be read." in models.stdout
    listed = json.loads(mlp_job("models", *WHERE, "--json").stdout)["models"]["corners"]
    assert [(each["version"], each["champion"]) for each in listed] == [(2, True), (1, False)]
    assert listed[0]["problem"] == "expected a manifest, received none"
    verify = mlp_job("verify", "champion", *WHERE)
    assert verify.returncode == 66
    assert told(verify)["message"] == (
        "Expected corners version 2 in store, which champion.json names. Received: no manifest."
    )
    assert f"mlp-job {repair[0]}" in told(verify)["hint"]
    assert told(mlp_job("evaluate", "2", *WHERE))["message"].endswith("Received: 1.")

    assert mlp_job(*repair, *WHERE).stdout == "champion: 2 → 1\n"
    assert mlp_job("verify", "champion", *WHERE).returncode == 0
    assert "cannot be read" not in mlp_job("models", *WHERE).stdout


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"schema_version": 1}', b"\xff", lambda pointer: {**pointer, "history": []},
     lambda pointer: {**pointer, "version": 1}, lambda pointer: {**pointer, "schema_version": 2}],
)  # fmt: skip
def test_a_pointer_that_cannot_be_read(place: Path, content: object) -> None:
    pointer = place / "store/corners/champion.json"
    if callable(content):
        content = json.dumps(content(json.loads(pointer.read_text())))
    pointer.write_bytes(content if isinstance(content, bytes) else str(content).encode())
    registry = Registry(open_store("store"), "corners")
    for act in (lambda: registry.check("run"), lambda: registry.promote("1"), registry.rollback):
        with pytest.raises(DataError, match=r"champion\.json: expected a champion") as caught:
            act()
        assert "move the file away" in caught.value.hint
    pointer.unlink()
    assert registry.promote("1").after == 1
    assert registry.check("run") is None
    assert registry.verify("champion").damaged == ()


def test_tables_are_no_wider_than_people_read(place: Path) -> None:
    manifest = place / "store/corners/versions/2/manifest.json"
    long = "nightly-29384756-" + "0123456789-" * 8
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"run_id": long}))
    compared = mlp_job("compare", "1", "2", *WHERE).stdout.splitlines()
    assert max(map(len, compared)) <= 100
    at = next(i for i, line in enumerate(compared) if "run id" in line)
    said = "".join("".join(line.split()[-2:]) for line in compared[at : at + 5])
    assert long in said.replace("night-1", "").replace("≠", "")
    (place / "store/corners/versions/1/manifest.json").write_text("{")
    models = mlp_job("models", *WHERE).stdout
    assert max(map(len, models.split("1: ")[0].splitlines())) <= 70
    assert "1: store/corners/versions/1/manifest.json: expected a manifest in JSON." in models

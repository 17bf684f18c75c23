"""Retraining piece by piece: what is skipped, who is compared, what is told; old stores too."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import churn
import documents
import gateway as gateways
import numpy as np
import pytest
import seaweed
import tiny
import yaml
from program import PROGRAM
from prometheus_client.parser import text_string_to_metric_families
from registries import Registry

from job.config import Config
from job.data import identity
from job.errors import DataNotFound
from job.gate import contest
from job.registry import fingerprint
from job.storage import open_store
from job.track import prometheus
from job.versions import library_versions

QUICK = ("--epochs=2", "--hidden=8", "--batch-size=25", "--learning-rate=0.01", "--device=cpu")
OLD = Path(__file__).parents[1] / "stores" / "schema-1"


def save(path: Path, rows: int = 600, test_rows: int = 200) -> None:
    train, test = tiny.split(rows, 0), tiny.split(test_rows, 1)
    names = np.array(tiny.CLASSES)
    np.savez(path, x_train=train.x, y_train=names[train.y], x_test=test.x, y_test=names[test.y])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the old store, and the data that its versions were trained on."""
    shutil.copytree(OLD, tmp_path / "store")
    save(tmp_path / "corners.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry(place: Path) -> Registry:
    return Registry(open_store("store"), "corners")


def mlp_job(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        capture_output=True, text=True, timeout=240, env=os.environ, check=False,
    )  # fmt: skip


WHERE = ("--store", "store", "--name", "corners")


# A store written before versions were compared


def test_an_old_store_is_read_in_full(place: Path) -> None:
    table = mlp_job("models", *WHERE)
    assert table.returncode == 0, table.stderr
    assert "champion" in table.stdout.splitlines()[4]
    listed = json.loads(mlp_job("models", *WHERE, "--json").stdout)["models"]["corners"]
    assert [(each["version"], each["fate"]) for each in listed] == [
        (2, "promoted"), (1, "promoted"),
    ]  # fmt: skip
    assert [each["fingerprint"] for each in listed] == [None, None]
    side_by_side = json.loads(mlp_job("compare", "1", "champion", *WHERE, "--json").stdout)
    assert side_by_side["configuration"]["seed"] == [0, 1]
    assert side_by_side["data"]["digest"][0] == side_by_side["data"]["digest"][1]
    assert side_by_side["class ne"]["support"][0] == side_by_side["class ne"]["support"][1]
    assert "≠" in mlp_job("compare", "1", "2", *WHERE).stdout
    assert mlp_job("verify", "1", *WHERE).returncode == 0
    assert mlp_job("rollback", *WHERE).stdout == "champion: 2 → 1\n"


def test_a_change_between_accuracies_on_other_data_is_marked(place: Path) -> None:
    same = mlp_job("models", *WHERE).stdout
    assert "other data" not in same
    path = place / "store/corners/versions/1/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["data"]["digest"] = "f" * 64
    path.write_text(json.dumps(manifest))
    other = mlp_job("models", *WHERE).stdout
    assert "≈  measured on other data" in other.splitlines()[-1]
    [before], [after] = ([x.split() for x in said.splitlines() if x.split()[:1] == ["1"]]
                         for said in (same, other))  # fmt: skip
    [(number, mark)] = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert mark == f"≈{number}"


def test_figures_that_cannot_be_written_are_told_at_once(place: Path) -> None:
    for path in ("nowhere/a.prom", "store", "corners.npz/a.prom"):
        done = mlp_job("train", *QUICK, "--data", "corners.npz", *WHERE, "--metrics-file", path)
        assert done.returncode == 2, done.stdout
        last = json.loads(done.stdout.splitlines()[-1])
        assert (
            f"--metrics-file: expected a file in a folder that can be written. Received: '{path}"
            in (last["message"])
        )
        assert last["hint"]
    assert sorted(each.name for each in (place / "store/corners/versions").iterdir()) == ["1", "2"]


@pytest.fixture
def gateway() -> Iterator[gateways.Gateway]:
    with gateways.serve() as gateway:
        yield gateway


def test_an_old_champion_is_challenged(
    place: Path, registry: Registry, gateway: gateways.Gateway
) -> None:
    figures = place / "mlp_job.prom"
    words = ("train", *QUICK, "--data", "corners.npz", *WHERE, "--metrics-file", figures)
    words += ("--metrics-gateway", gateway.url)
    done = mlp_job(*words, "--margin", "0.9", "--min-recall", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = registry.resolve("champion")
    assert manifest.version == 3
    assert [(c.version, c.role) for c in manifest.verdict.comparisons] == [
        (2, "champion"), (1, "best"),
    ]  # fmt: skip
    for comparison in manifest.verdict.comparisons:
        known = registry.resolve(str(comparison.version)).metrics.accuracy
        assert comparison.accuracy == pytest.approx(known)
        assert comparison.difference == pytest.approx(manifest.metrics.accuracy - known)
    folder = place / "store/corners/versions/3" / manifest.attempt
    verdict = json.loads((folder / "metrics.json").read_text())["verdict"]
    assert verdict["comparisons"][0]["version"] == verdict["champion"] == 2
    page = (folder / "report.html").read_text()
    assert "the champion, version 2, on the same 200 test rows" in page
    assert "How it compares with the last versions" in page
    [told] = [e for e in map(json.loads, done.stdout.splitlines()) if e["event.name"] == "verdict"]
    assert told["comparisons"] == verdict["comparisons"]
    first = samples(figures)
    assert first["mlp_job_gate_passed", "corners"] == 1
    assert first["mlp_job_test_accuracy_ratio", "corners"] == manifest.metrics.accuracy
    assert first["mlp_job_resumed", "corners"] == 0
    assert first["mlp_job_data_rows", "corners", "test"] == 200
    assert first["mlp_job_phase_duration_seconds", "corners", "compare"] > 0

    skipped = mlp_job(*words, "--skip-unchanged")
    assert skipped.returncode == 0
    assert [json.loads(line)["event.name"] for line in skipped.stdout.splitlines()] == [
        "run.started", "run.skipped",
    ]  # fmt: skip
    success = ("mlp_job_last_success_timestamp_seconds", "corners")
    then = samples(figures)[success]
    assert then > first[success]

    done = mlp_job(*words, "--seed=5", "--min-recall=1", "--learning-rate=1e-6", "--rejection-ok")
    assert done.returncode == 0, done.stdout + done.stderr
    assert registry.resolve("champion").version == 3
    assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 0
    assert samples(figures)["mlp_job_gate_passed", "corners"] == 0
    assert samples(figures)[success] == then
    pushed = [push.get(success, 0) > 0 for _, _, push in gateway.pushes]
    assert pushed == [True, True, False]  # promoted, skipped, rejected


def samples(path: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_a_retry_is_judged_against_the_champion_of_its_day(place: Path, registry: Registry) -> None:
    (place / "store/corners/champion.json").unlink()
    registry.promote("1")
    found = registry.check("night-2")
    strict, lenient = (
        Config.of(data="x", name="x", margin=0.0),
        Config.of(data="x", name="x", margin=0.9),
    )
    ended = contest.settle(registry, found, strict, warn=print)
    assert not ended.verdict.promote
    assert ended.verdict.champion == 1
    [comparison] = ended.verdict.comparisons
    assert comparison.accuracy == registry.resolve("1").metrics.accuracy
    ended = contest.settle(registry, found, lenient, warn=print)
    assert ended.verdict.promote
    assert registry.champion().version == 2


def test_a_damaged_champion_is_not_beaten_by_default(place: Path, registry: Registry) -> None:
    [model] = place.glob("store/corners/versions/2/*/model.keras")
    model.write_bytes(b"not a model")
    found = registry.check("night-1")
    challenger = contest.retrieved(registry, found.manifest, Config(), print)
    verdict = contest.judge(registry, challenger, registry.champion())
    assert not verdict.promote
    assert "Not comparable with the champion, version 2: " in verdict.reasons[0]


def test_a_version_is_trained_again_bit_for_bit(place: Path) -> None:
    done = mlp_job("train", *QUICK, "--data", "corners.npz", *WHERE, "--rejection-ok")
    assert done.returncode == 0, done.stdout + done.stderr
    again = mlp_job("reproduce", "latest", *WHERE, "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    said = json.loads(again.stdout)
    assert (said["version"], said["same_bits"], said["differences"]) == (3, True, {})
    save(place / "corners.npz", rows=500)
    other = mlp_job("reproduce", "latest", *WHERE)
    assert other.returncode == 65
    assert "The data has changed since" in other.stderr


# The documentation


def test_the_alert_watches_a_figure_that_is_written() -> None:
    [rule] = yaml.safe_load(documents.block("job/registry/README.md", "yaml", "MlpJobNoSuccess"))[
        "groups"
    ][0]["rules"]
    assert f"time() - {prometheus.LAST_SUCCESS} > 2 * 86400" == rule["expr"]


def test_the_lifecycle_rules_are_understood(s3: seaweed.SeaweedFS) -> None:
    rules = json.loads(documents.block("job/registry/README.md", "json", "dead-runs"))
    assert [rule["Filter"]["Prefix"] for rule in rules["Rules"]] == ["PREFIX/NAME/runs/", "PREFIX/"]
    assert "Expiration" not in rules["Rules"][1]
    client = s3.client()
    client.put_bucket_lifecycle_configuration(Bucket=s3.bucket, LifecycleConfiguration=rules)
    client.delete_bucket_lifecycle(Bucket=s3.bucket)


# The fingerprint


def test_what_makes_a_model_changes_the_fingerprint(place: Path, s3_uri: str) -> None:
    versions = library_versions()

    def of(**changes: object) -> str:
        config = Config.of(**{"data": "corners.npz", "name": "c"} | changes)
        return fingerprint.source(config, versions, contents=True)

    plain = of()
    for beside in (
        {"store": "elsewhere"}, {"device": "cpu"}, {"log_format": "text"}, {"run_id": "r"},
        {"name": "other"}, {"margin": 0.1}, {"skip_unchanged": True},
    ):  # fmt: skip
        assert of(**beside) == plain, beside
    changed = [of(seed=1), of(hidden=(8,)), of(test_data="corners.npz"), of(data="mnist")]
    changed.append(
        fingerprint.source(
            Config.of(data="corners.npz", name="c"), {**versions, "keras": "4"}, contents=True
        )
    )
    shutil.copy("corners.npz", "copy.npz")
    assert of(data="copy.npz") == plain
    save(place / "corners.npz", rows=500)
    changed.append(of())
    assert len({plain, *changed}) == len(changed) + 1


def test_data_in_s3_is_told_apart_without_reading_it(place: Path, s3_uri: str) -> None:
    store = open_store(s3_uri)
    store.upload(place / "corners.npz", "one/corners.npz")
    first = identity(f"{s3_uri}/one/corners.npz")
    assert first[0][1] == (place / "corners.npz").stat().st_size
    assert identity(f"{s3_uri}/one") == identity(f"{s3_uri}/one/")
    assert [path for path, _, _ in identity(f"{s3_uri}/one")] == ["corners.npz"]
    save(place / "corners.npz", rows=500)
    store.upload(place / "corners.npz", "one/corners.npz")
    assert identity(f"{s3_uri}/one/corners.npz") != first
    with pytest.raises(DataNotFound):
        identity("nothing.npz")


def test_nothing_heavy_is_imported_to_find_nothing_to_do(place: Path, registry: Registry) -> None:
    code = (
        "import sys\n"
        "from job import pipeline\n"
        "from job.config import Config\n"
        "outcome = pipeline.run(Config.of(data='corners.npz', name='corners', store='store',"
        " skip_unchanged=True))\n"
        "assert not {'tensorflow', 'keras', 'pyarrow', 'matplotlib'} & set(sys.modules)\n"
        "print(outcome.details()['outcome'])\n"
    )
    config = Config.of(data="corners.npz", name="corners")
    made_from = fingerprint.source(config, library_versions(), contents=True)
    path = place / "store/corners/versions/2/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": made_from}))
    (place / "store/corners/champion.json").unlink()
    registry.promote("2")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "skipped\n", done.stderr


# Tables


def test_tables_are_compared_on_their_raw_columns(tmp_path: Path) -> None:
    where = ("--store", tmp_path / "store", "--name", "churn")
    words = ("train", *QUICK, "--label", "churned", "--exclude", "household", *where)
    words += ("--data", churn.write_csv(tmp_path / "churn.csv", churn.rows(800)))
    first = mlp_job(*words)
    assert first.returncode == 0, first.stdout + first.stderr
    # Other means and a column less: another encoding, but version 1 finds its columns.
    table = [row for row in churn.rows(1600, seed=1) if row["city"] != "Osaka"]
    churn.write_csv(tmp_path / "churn.csv", table)
    second = mlp_job(*words, "--margin=0.5", "--epochs=4", "--exclude", "household city")
    assert second.returncode == 0, second.stdout + second.stderr
    registry = Registry(open_store(str(tmp_path / "store")), "churn")
    assert [c.name for c in registry.resolve("1").schema.columns if c.name == "city"]
    assert not [c.name for c in registry.resolve("2").schema.columns if c.name == "city"]
    [comparison] = registry.resolve("2").verdict.comparisons
    assert comparison.version == 1
    evaluated = mlp_job("evaluate", "1", *where, "--data", tmp_path / "churn.csv", "--json")
    assert comparison.accuracy == pytest.approx(json.loads(evaluated.stdout)["accuracy"])

    assert mlp_job("rollback", *where).returncode == 0
    for row in table:
        del row["city"]
    churn.write_csv(tmp_path / "churn.csv", table)
    third = mlp_job(*words, "--margin=0.5")
    assert third.returncode == 3, third.stdout + third.stderr
    assert "chose the test rows are not there any more ('city')" in json.loads(
        third.stdout.splitlines()[-1]
    )["message"]  # fmt: skip

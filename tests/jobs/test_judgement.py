"""What is promoted and what is not, and where a person finds why: the real command on tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from program import events, mlp_job
from prometheus_client.parser import text_string_to_metric_families

QUICK = ("--epochs=8", "--hidden=16", "--batch-size=50", "--learning-rate=0.01", "--device=cpu")
SCORES = {
    "accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss", "f1", "brier",
    "matthews",
}  # fmt: skip


def write_payments(path: Path, rows: int, *, signal: float, seed: int = 0) -> Path:
    """Payments of which 5 % are fraud; the amount tells it as far as there is a signal."""
    random = np.random.default_rng(seed)
    fraud = random.random(rows) < 0.05
    columns = {
        "payment": [f"p{i:05}" for i in range(rows)],
        "amount": random.normal(100, 20, rows) + signal * fraud,
        "hour": random.uniform(0, 24, rows),
        "age": random.uniform(18, 90, rows),
        "outcome": np.where(fraud, "fraud", "ok"),
    }
    lines = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def train(place: Path, data: Path, *options: str) -> subprocess.CompletedProcess:
    return mlp_job(
        "train", *QUICK, "--data", data, "--label", "outcome", "--keep", "payment",
        "--name", "pay", "--store", place / "store", "--termination-log", place / "end",
        "--metrics-file", place / "pay.prom", *options,
    )  # fmt: skip


def where(place: Path) -> tuple[object, ...]:
    return ("--store", place / "store", "--name", "pay")


def test_a_model_of_noise_is_published_and_promoted_only_when_allowed(tmp_path: Path) -> None:
    data = write_payments(tmp_path / "noise.csv", 2000, signal=0)
    done = train(tmp_path, data, "--rejection-ok")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "end").read_text())
    assert (said["outcome"], said["metric"]) == ("rejected", "balanced_accuracy")
    reasons = " ".join(said["reasons"])
    assert "The model never answers 'fraud'" in reasons
    assert "not shown to be better than always answering 'ok'" in reasons
    assert "`--allow class-never-found` accepts it" in reasons
    assert not (tmp_path / "store/pay/champion.json").exists()
    codes = ("class-never-found", "no-better-than-baseline")
    again = train(tmp_path, data, "--seed=1", f"--allow={codes[0]}")
    assert again.returncode == 3
    ended = [each for each in events(again.stdout) if each["event.name"] == "run.ended"]
    assert [each["exit_code"] for each in ended] == [3]
    assert sum(ended[0]["details"]["seconds"].values()) > 0
    again = train(tmp_path, data, "--seed=1", f"--allow={' '.join(codes)}")
    assert again.returncode == 0, again.stdout + again.stderr
    said = json.loads((tmp_path / "end").read_text())
    assert said["outcome"] == "promoted"
    accepted = {each.split(":")[0] for each in said["reasons"]}
    assert accepted >= {f"Accepted by --allow {code}" for code in codes}
    chosen = [each for each in events(again.stdout) if each["event.name"] == "metric.chosen"]
    assert (chosen[0]["score"], chosen[0]["baseline"]) == (0.5, 0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of two champions that find fraud, and what their runs left."""
    folder = tmp_path_factory.mktemp("payments")
    data = write_payments(folder / "payments.csv", 2000, signal=80)
    for seed in (0, 1):
        done = train(folder, data, "--threshold=recall=0.9", f"--seed={seed}", f"--run-id=r{seed}")
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_score_stands_in_every_place(place: Path) -> None:
    end = json.loads((place / "end").read_text())
    assert set(end["metrics"]) == {*SCORES, "loss"}
    assert set(end["baseline"]) == SCORES
    families = text_string_to_metric_families((place / "pay.prom").read_text())
    samples = [sample for family in families for sample in family.samples]
    for name in ("mlp_job_test_score", "mlp_job_test_baseline_score"):
        found = {sample.labels["score"] for sample in samples if sample.name == name}
        assert found >= SCORES, name
    listed = json.loads(mlp_job("models", *where(place), "--json").stdout)["models"]["pay"]
    for each in listed:
        assert set(each) >= SCORES
        assert set(each["baseline"]) == SCORES
        assert each["metric"] == "balanced_accuracy"
    sides = json.loads(mlp_job("compare", "1", "2", *where(place), "--json").stdout)
    assert set(sides["metrics"]) >= {*SCORES, "threshold"}
    assert set(sides["baseline"]) == SCORES
    [metrics] = (place / "store/pay/versions/2").glob("*/metrics.json")
    written = json.loads(metrics.read_text())
    assert set(written["scores"]) == set(written["baseline"]) == SCORES
    assert written["scores"]["roc_auc"] == pytest.approx(end["metrics"]["roc_auc"], abs=1e-6)


def test_predictions_and_report_number_rows_as_the_file_does(place: Path) -> None:
    data = pyarrow.csv.read_csv(place / "payments.csv")
    [path] = (place / "store/pay/versions/2").glob("*/predictions.parquet")
    answers = pyarrow.parquet.read_table(path)
    rows = data.take(answers["row"])
    assert answers["label"].to_pylist() == rows["outcome"].to_pylist()
    assert answers["payment"].to_pylist() == rows["payment"].to_pylist()
    assert len(set(answers["row"].to_pylist())) == len(answers) < len(data)


SERVED = """
import json, sys
import numpy as np, tensorflow as tf

served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
rows = json.load(open(sys.argv[2]))
answers = served(**{name: tf.constant(values, tf.float32) for name, values in rows.items()})
print(json.dumps([[text.decode() for text in answers["classes"].numpy().tolist()],
                  answers["probabilities"].numpy().astype(float).tolist()]))
"""
"""What a user of TensorFlow would write: nothing of this package."""


def test_the_served_model_answers_as_predict_does(place: Path, tmp_path: Path) -> None:
    data = write_payments(tmp_path / "new.csv", 3000, signal=80, seed=9)
    out = tmp_path / "out.csv"
    done = mlp_job("predict", "champion", data, "-o", out, *where(place))
    assert done.returncode == 0, done.stderr
    predicted = pyarrow.csv.read_csv(out)
    assert predicted["payment"].to_pylist() == [f"p{i:05}" for i in range(3000)]
    done = mlp_job("fetch", "champion", tmp_path / "model", *where(place))
    assert done.returncode == 0, done.stderr
    [labels] = (p for p in (tmp_path / "model").rglob("labels.txt") if "assets" not in str(p))
    assert labels.read_text() == "fraud\nok\n"
    table = pyarrow.csv.read_csv(data)
    rows = {name: table[name].to_pylist() for name in ("amount", "hour", "age")}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = subprocess.run(
        [sys.executable, "-P", "-c", SERVED, labels.with_name("saved_model"),
         tmp_path / "rows.json"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    classes, probabilities = json.loads(done.stdout)
    assert classes == predicted["class"].to_pylist()
    both = np.stack([predicted[f"probability_{name}"].to_numpy() for name in ("fraud", "ok")], 1)
    assert np.abs(both - np.array(probabilities)).max() < 1e-5
    assert 0 < classes.count("fraud") < 1000
    most = np.where(both[:, 0] > 0.5, "fraud", "ok").tolist()
    assert classes != most, "the threshold decides for no row, so that this shows nothing"


def test_the_history_has_who_moved_the_champion_and_why(place: Path) -> None:
    assert mlp_job("rollback", *where(place)).returncode == 0
    assert mlp_job("promote", "2", *where(place), "--reason", "checked").returncode == 0
    pointer = json.loads((place / "store/pay/champion.json").read_text())
    moves = [(m["command"], m["after"], m["run_id"], m["reason"]) for m in pointer["history"][2:]]
    assert moves == [("rollback", 1, None, "by hand"), ("promote", 2, None, "checked")]
    actors = [move["actor"] for move in pointer["history"]]
    assert actors[:2] == ["run r0", "run r1"]
    assert actors[2] == actors[3]
    assert "@" in actors[2]

"""The job from outside: the real command, against a folder and against a real S3 server."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import tiny
from program import PROGRAM, QUICK, events, failure, mlp_job, version_folder


def test_from_data_to_a_published_model(store_uri, corners, tmp_path):
    note = tmp_path / "termination"
    where = ("--store", store_uri, "--name", "corners")
    train = ("train", *QUICK, "--checkpoint-every=3600", "--data", corners, *where)
    train += ("--termination-log", note)
    (tmp_path / "scratch").mkdir()
    done = mlp_job(*train, TMPDIR=str(tmp_path / "scratch"))
    assert done.returncode == 0, done.stdout + done.stderr
    left = {path.name for path in (tmp_path / "scratch").rglob("*")}
    assert left == {f"mlp-job-{os.getuid()}"}, "all scratch is gone but this user's empty folder"
    log = events(done.stdout)
    assert [event["event.name"] for event in log] == [
        "run.started",
        "import.started",
        "device.ready",
        "data.loaded",
        "network.planned",
        "epoch.ended",
        "training.estimated",
        *["epoch.ended"] * 2,
        "checkpoint.saved",
        "evaluated",
        "metric.chosen",
        "verdict",
        "publishing.started",
        "published",
        "run.ended",
    ]
    assert len({event["run.id"] for event in log}) == 1
    assert len({event["run.attempt"] for event in log}) == 1
    said = json.loads(note.read_text())
    assert (said["outcome"], said["exit_code"], said["version"]) == ("promoted", 0, 1)
    assert said["metrics"]["accuracy"] > 0.9

    listed = json.loads(mlp_job("models", *where, "--json").stdout)["models"]["corners"]
    assert [(each["version"], each["champion"]) for each in listed] == [(1, True)]
    assert mlp_job("verify", "champion", *where).returncode == 0
    scored = json.loads(mlp_job("evaluate", "latest", *where, "--json").stdout)
    assert scored["accuracy"] == said["metrics"]["accuracy"]
    assert scored["loss"] == pytest.approx(said["metrics"]["loss"], rel=1e-4)

    out = tmp_path / "out.parquet"
    rows = tmp_path / "rows.npy"
    np.save(rows, tiny.split(200, 1).x)
    assert mlp_job("predict", "1", rows, "-o", out, *where).returncode == 0
    predicted = pyarrow.parquet.read_table(out)["class"].to_pylist()
    truth = [tiny.CLASSES[i] for i in tiny.split(200, 1).y]
    assert np.mean(np.array(predicted) == truth) == said["metrics"]["accuracy"]


def test_a_model_below_the_floor_is_published_and_not_promoted(corners, tmp_path):
    store, note = tmp_path / "store", tmp_path / "termination"
    arguments = ("train", *QUICK, "--data", corners, "--name", "c", "--store", store)
    arguments += ("--min-accuracy", "1", "--run-id", "r-1", "--termination-log", note)
    done = mlp_job(*arguments, "--epochs", "1", "--learning-rate", "1e-9")
    assert done.returncode == 3, done.stdout + done.stderr
    said = json.loads(note.read_text())
    assert (said["error"], said["version"]) == ("GateRejected", 1)
    assert "is below the floor of 1.0000." in said["message"]
    assert not (store / "c/champion.json").exists()
    assert (store / "c/versions/1/manifest.json").exists()

    retried = mlp_job(*arguments, "--epochs", "1", "--learning-rate", "1e-9")
    assert retried.returncode == 3
    assert "epoch.ended" not in retried.stdout
    assert not (store / "c/versions/2").exists()

    by_hand = ("--store", store, "--name", "c")
    assert mlp_job("promote", "1", *by_hand, "--reason", "good enough").returncode == 0
    pointer = json.loads((store / "c/champion.json").read_text())
    assert (pointer["version"], pointer["history"][0]["reason"]) == (1, "good enough")


def test_the_published_files_need_nothing_of_ours(shared_store):
    folder, manifest = version_folder(shared_store, "corners")
    code = textwrap.dedent("""
        import json, sys
        import keras, numpy as np, tensorflow as tf
        rows = np.load(sys.argv[2])
        model = keras.saving.load_model(sys.argv[1] + "/model.keras", safe_mode=True)
        served = tf.saved_model.load(sys.argv[1] + "/saved_model").signatures["serving_default"]
        here = model.predict(rows, verbose=0)
        there = served(rows=tf.constant(rows))["probabilities"].numpy()
        assert not [name for name in sys.modules if name.split(".")[0] == "job"]
        print(json.dumps([type(model).__name__, here.argmax(1).tolist(), there.argmax(1).tolist()]))
    """)
    test = tiny.split(200, 1)
    rows = folder.parent / "rows.npy"
    np.save(rows, test.x)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, folder, rows],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    rows.unlink()
    kind, keras_says, tensorflow_says = json.loads(done.stdout.splitlines()[-1])
    table = pyarrow.parquet.read_table(folder / "predictions.parquet")
    published = [manifest["classes"].index(label) for label in table["predicted"].to_pylist()]
    assert kind == "Sequential"
    assert keras_says == tensorflow_says == published
    assert manifest["classes"] == ["ne", "nw", "se", "sw"]
    assert manifest["input"] == {"shape": [8, 8], "dtype": "uint8"}


def test_a_version_has_every_file_and_each_says_the_same(shared_store):
    folder, manifest = version_folder(shared_store, "corners")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["schema_version"] == 1
    assert metrics["accuracy"] == manifest["metrics"]["accuracy"]
    assert [c["label"] for c in metrics["per_class"]] == manifest["classes"]
    assert np.sum(metrics["confusion_matrix"]) == manifest["data"]["test_rows"] == 200
    assert metrics["rows_per_second"] > 0
    assert metrics["peak_memory_mb"] > 0
    assert set(metrics["seconds"]) >= {"import", "read", "trace", "compile", "run", "evaluate"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["hidden"]) == (3, [16])
    history = pyarrow.csv.read_csv(folder / "history.csv")
    assert history["epoch"].to_pylist() == [1, 2, 3]
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert (folder / "README.md").read_text().startswith("---\n")
    recorded = {path.removeprefix(folder.name + "/") for path in manifest["files"]}
    assert recorded == {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--data", "nothing.npz"), 66, "nothing.npz"),
        (("--data", "s3://no-such-bucket-here/x.npz"), 66, "no-such-bucket-here"),
        (("--data", "broken.npz"), 65, "broken.npz"),
        (("--data", "one.npz"), 65, "class"),
        (("--data", "unseen.npz"), 65, "never"),
        (("--data", "ftp://host/x"), 2, "ftp://"),
        (("--device", "gpu"), 69, "GPU"),
        (("--hidden", "99999999999"), 71, "weights, which take"),
        (("--store", "s3://no-such-bucket-here/models"), 77, "no-such-bucket-here"),
        (("--store", "file"), 77, "file"),
    ],
)
def test_bad_input_ends_before_training_and_leaves_nothing(
    arguments, code, words, s3, corners, tmp_path
):
    for name, value in corners_gone_wrong(corners).items():
        (tmp_path / name).write_bytes(value)
    (tmp_path / "file").write_text("in the way")
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [PROGRAM, "train", *QUICK, "--data", corners, "--name", "c", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=tmp_path,
        env=os.environ | dict(s3.env),
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    ended = failure(done)
    assert words in ended["message"]
    assert "Received: " in ended["message"]
    assert ended["exit_code"] == code
    assert "epoch.ended" not in done.stdout
    assert sorted(tmp_path.iterdir()) == before


def corners_gone_wrong(corners):
    import io

    whole = dict(np.load(corners))
    wrong = {
        "one.npz": whole | {"y_train": np.full(600, "ne"), "y_test": np.full(200, "ne")},
        "unseen.npz": whole | {"y_test": np.full(200, "never")},
    }
    files = {"broken.npz": corners.read_bytes()[:-100]}
    for name, arrays in wrong.items():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        files[name] = buffer.getvalue()
    return files


def test_wrong_credentials_end_at_the_start(s3, corners, tmp_path):
    wrong = dict(s3.env) | {"AWS_SECRET_ACCESS_KEY": "not-the-secret-4711"}
    store = f"s3://{s3.bucket}/denied"
    done = mlp_job("train", *QUICK, "--data", corners, "--name", "c", "--store", store, **wrong)
    assert done.returncode == 77, done.stdout + done.stderr
    assert wrong["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr


def test_a_learning_rate_too_high_ends_with_70(corners, tmp_path):
    store = tmp_path / "store"
    done = mlp_job(
        "train", *QUICK, "--data", corners, "--name", "c", "--store", store,
        "--learning-rate", "1e30", "--activation", "elu", "--checkpoint-every", "3600",
    )  # fmt: skip
    assert done.returncode == 70, done.stdout + done.stderr
    assert not (store / "c").exists()

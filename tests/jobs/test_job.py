"""The job from outside: the real command, against a folder and against a real S3 server."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import tiny
from program import PROGRAM, mlp_job

QUICK = ("--epochs=3", "--hidden=16", "--batch-size=25", "--learning-rate=0.01", "--device=cpu")


def events(output):
    return [json.loads(line) for line in output.splitlines()]


def failure(done):
    """The last event of a command that failed, wherever it logs."""
    return events(done.stdout or done.stderr)[-1]


@pytest.fixture(scope="session")
def corners(tmp_path_factory):
    """A small .npz of the user's own: string labels, 8×8 uint8 images."""
    path = tmp_path_factory.mktemp("data") / "corners.npz"
    train, test = tiny.split(600, 0), tiny.split(200, 1)
    names = np.array(tiny.CLASSES)
    np.savez(path, x_train=train.x, y_train=names[train.y], x_test=test.x, y_test=names[test.y])
    return path


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory, corners):
    """A folder with one published version; for commands that only read."""
    store = tmp_path_factory.mktemp("published") / "store"
    done = mlp_job("train", *QUICK, "--data", corners, "--name", "corners", "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    return store


def version_folder(store, name, version=1):
    manifest = json.loads((store / name / f"versions/{version}/manifest.json").read_text())
    return store / name / f"versions/{version}" / manifest["attempt"], manifest


def test_from_data_to_a_published_model(store_uri, corners, tmp_path):
    note = tmp_path / "termination"
    where = ("--store", store_uri, "--name", "corners")
    train = ("train", *QUICK, "--data", corners, *where, "--termination-log", note)
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


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_predictions_in_each_format_and_to_s3(suffix, shared_store, tmp_path, s3_uri, s3):
    rows = tmp_path / "rows.npy"
    np.save(rows, tiny.split(200, 1).x)
    target = f"{s3_uri}/out.{suffix}"
    done = mlp_job(
        "predict", "champion", rows, "-o", target, "--store", shared_store, "--name", "corners"
    )
    assert done.returncode == 0, done.stderr
    assert events(done.stderr)[-1]["rows"] == 200
    bucket, _, key = target.removeprefix("s3://").partition("/")
    got = tmp_path / f"got.{suffix}"
    s3.client().download_file(bucket, key, str(got))
    if suffix == "jsonl":
        first = json.loads(got.read_text().splitlines()[0])
        assert first["class"] in tiny.CLASSES
        assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        return
    table = (pyarrow.csv.read_csv if suffix == "csv" else pyarrow.parquet.read_table)(got)
    assert table.column_names == ["class", *(f"probability_{name}" for name in tiny.CLASSES)]
    assert table.num_rows == 200


def test_a_prediction_that_fails_leaves_no_file(shared_store, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(",".join(["1"] * (64 if i < 20_000 else 63)) for i in range(20_001)))
    out = tmp_path / "out.csv"
    done = mlp_job(
        "predict", "champion", rows, "-o", out, "--store", shared_store, "--name", "corners"
    )
    assert done.returncode == 65, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_predictions_never_replace_the_rows_they_are_made_from(shared_store, tmp_path):
    rows, link = tmp_path / "rows.csv", tmp_path / "link.csv"
    rows.write_text("1,2\n")
    link.symlink_to(rows)
    where = ("--store", shared_store, "--name", "corners")
    for given, out, words in (
        (rows, rows, "among the rows to predict"),
        (rows, link, "among the rows to predict"),
        (f"{tmp_path}/*.csv", rows, "among the rows to predict"),
        (f"nothing.csv, {link}", rows, "among the rows to predict"),
        (
            "s3://no-such-bucket-here/x.csv",
            "s3://no-such-bucket-here/x.csv",
            "among the rows to predict",
        ),
        (rows, tmp_path / "nowhere" / "out.csv", "a folder that exists"),
    ):
        done = mlp_job("predict", "no-such-version", given, "-o", out, *where)
        assert done.returncode == 2, done.stderr
        assert words in failure(done)["message"]
        assert failure(done)["hint"]
    assert rows.read_text() == "1,2\n"


def test_a_million_rows_in_flat_memory(shared_store, tmp_path):
    code = (
        "import resource, sys, os\n"
        "from job import cli\n"
        "os._exit = lambda code: print(code,"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
        "cli.main()\n"
    )
    peaks = {}
    for count in (20_000, 1_000_000):
        rows, out = tmp_path / "rows.npy", tmp_path / "out.parquet"
        np.lib.format.open_memmap(rows, mode="w+", dtype=np.uint8, shape=(count, 8, 8)).flush()
        words = ["predict", "champion", rows, "-o", out, "--store", shared_store]
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--name", "corners"],
            capture_output=True,
            text=True,
            check=True,
        )
        status, peaks[count] = map(int, done.stdout.split())
        assert status == 0
        assert pyarrow.parquet.read_metadata(out).num_rows == count
    # The rows alone are 64 MB, their probabilities another 16 MB.
    assert peaks[1_000_000] - peaks[20_000] < 40


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
        (("--hidden", "99999999999"), 71, "batches of 25 rows"),
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", ["run.started", "epoch.ended"])
def test_a_signal_ends_the_run_and_nothing_is_published(number, code, moment, corners, tmp_path):
    store, note = tmp_path / "store", tmp_path / "termination"
    where = ("--store", store, "--name", "c", "--termination-log", note)
    process = subprocess.Popen(
        [PROGRAM, "train", *QUICK, "--epochs=100000", "--data", corners, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if json.loads(line)["event.name"] == moment:
            break
    time.sleep(0.1)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == code, rest + errors
    assert events(rest)[-1]["event.name"] == "run.ended"
    told = json.loads(note.read_text())
    assert told["exit_code"] == code
    again = {
        "run.started": "Run the same command again.",
        "epoch.ended": f"The same command with --run-id {told['run_id']} goes on from the last "
        "checkpoint.",
    }
    assert told["hint"] == events(rest)[-1]["hint"] == again[moment]
    assert "Traceback" not in errors
    assert not (store / "c/versions").exists()
    kept = [path.name for path in store.rglob("checkpoint-*")]
    assert len(kept) == (moment == "epoch.ended")  # the next try goes on from there


def test_a_learning_rate_too_high_ends_with_70(corners, tmp_path):
    store = tmp_path / "store"
    done = mlp_job(
        "train", *QUICK, "--data", corners, "--name", "c", "--store", store,
        "--learning-rate", "1e30", "--activation", "elu",
    )  # fmt: skip
    assert done.returncode == 70, done.stdout + done.stderr
    assert not (store / "c").exists()


def test_a_damaged_file_is_found_and_never_loaded(corners, tmp_path):
    store = tmp_path / "store"
    where = ("--store", store, "--name", "c")
    assert mlp_job("train", *QUICK, "--data", corners, *where).returncode == 0
    folder, _ = version_folder(store, "c")
    model = folder / "model.keras"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = mlp_job("verify", "1", *where)
    assert done.returncode == 65
    assert "model.keras" in done.stdout
    assert mlp_job("evaluate", "1", *where).returncode == 65


def test_rollback_goes_back_to_the_champion_before(corners, tmp_path):
    store = tmp_path / "store"
    where = ("--store", store, "--name", "c")
    for seed in ("1", "2"):
        done = mlp_job("train", *QUICK, "--epochs", "1", "--data", corners, *where, "--seed", seed)
        assert done.returncode == 0, done.stdout + done.stderr
    (store / "c/versions/2/manifest.json").unlink()  # all else is broken
    done = mlp_job("rollback", *where, "--reason", "bad night")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "champion: 2 → 1\n"
    assert json.loads((store / "c/champion.json").read_text())["version"] == 1
    assert mlp_job("rollback", *where).returncode == 66


def test_the_doctor_names_each_proof(shared_store, corners, tmp_path):
    good = mlp_job("doctor", "--data", corners, "--name", "c", "--store", tmp_path / "s", "--json")
    assert good.returncode == 0, good.stderr
    checks = json.loads(good.stdout)["checks"]
    assert [(c["name"], c["ok"]) for c in checks] == [
        ("store", True), ("scratch", True), ("data", True), ("device", True),
    ]  # fmt: skip
    assert not (tmp_path / "s").exists()
    bad = mlp_job("doctor", "--data", "gone.npz", "--name", "c", "--device", "gpu", "--json")
    assert bad.returncode == 66
    assert [c["ok"] for c in json.loads(bad.stdout)["checks"]] == [True, True, False, False]


def test_the_champion_is_laid_out_for_tensorflow_serving(shared_store, tmp_path):
    where = ("--store", shared_store, "--name", "corners")
    done = mlp_job("fetch", "champion", tmp_path / "serving", "--serving", *where)
    assert done.returncode == 0, done.stderr
    served = {p.name for p in (tmp_path / "serving/1").iterdir()}
    assert {"saved_model.pb", "variables"} <= served

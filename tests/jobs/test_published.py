"""The commands on a published version, from outside."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import tiny
from program import QUICK, events, failure, mlp_job, version_folder


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


def test_pods_share_many_files_and_make_nothing_twice(shared_store, tmp_path, s3_uri, s3):
    client, (bucket, _, prefix) = s3.client(), s3_uri.removeprefix("s3://").partition("/")
    files = ["a.csv", "b.npy", "deep/c.npy", "deep/d.csv", "e.npy", "f.csv"]
    for number, name in enumerate(files):
        rows, path = tiny.split(10 + number, number).x, tmp_path / "rows"
        with path.open("wb") as file:
            if name.endswith(".npy"):
                np.save(file, rows)
            else:
                np.savetxt(file, rows.reshape(len(rows), -1), fmt="%d", delimiter=",")
        client.upload_file(str(path), bucket, f"{prefix}/new/{name}")

    def pod(index, output):
        done = mlp_job(
            "predict", "champion", f"{s3_uri}/new", "--output", output, "--hosts=2",
            "--store", shared_store, "--name=corners", JOB_COMPLETION_INDEX=str(index),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = events(done.stderr)[-1]
        return said["files"], said["there"], said["rows"]

    remote = f"{s3_uri}/said/{{version}}/{{file}}.csv"
    assert pod(0, remote) == (3, 0, 10 + 12 + 14)
    listed = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/said/")["Contents"]
    assert [each["Key"] for each in listed] == [
        f"{prefix}/said/1/{name}.csv" for name in files[::2]
    ]
    assert pod(0, remote) == (0, 3, 0)
    assert client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/said/")["Contents"] == listed

    (tmp_path / "said").mkdir()
    here = f"{tmp_path}/said/{{file}}.parquet"
    assert pod(1, here) == (3, 0, 11 + 13 + 15)
    (tmp_path / "said" / f"{files[1]}.parquet").unlink()  # as if it had been killed before
    kept = (tmp_path / "said" / f"{files[3]}.parquet").stat()
    assert pod(1, here) == (1, 2, 11)
    assert (tmp_path / "said" / f"{files[3]}.parquet").stat() == kept
    assert pyarrow.parquet.read_metadata(tmp_path / f"said/{files[1]}.parquet").num_rows == 11


@pytest.mark.parametrize(
    ("output", "index", "received"),
    [
        ("out.csv", "0", "expected {file} in it"),
        ("{file}.csv", "2", "JOB_COMPLETION_INDEX"),
        ("{file}", "0", ".csv, .parquet or .jsonl"),
        ("nowhere/{file}.csv", "0", "a folder that exists"),
    ],
)
def test_shares_that_cannot_be(shared_store, tmp_path, output, index, received):
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "rows.npy", tiny.split(10, 0).x)
    done = mlp_job(
        "predict", "champion", tmp_path / "new", "-o", tmp_path / output, "--hosts=2",
        "--store", shared_store, "--name=corners", JOB_COMPLETION_INDEX=index,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert received in failure(done)["message"]


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

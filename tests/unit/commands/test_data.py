"""data: what it says about options that do not fit the data."""

import json

import pytest
from program import mlp_job

COLUMNS = [f"measured value {i}" for i in range(500)] + ["Total Charges", "churned"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "wide.csv"
    rows = [[f"{i * (j + 3) % 97}.5" for j in range(501)] + ["yn"[i % 2]] for i in range(40)]
    path.write_text("\n".join(map(",".join, [COLUMNS, *rows])))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "nearest"),
    [
        (["--label", "churn"], 65, "'churned'"),
        (["--label", "churned", "--exclude", "'total charge'"], 2, "'Total Charges'"),
        (["--label", "churned", "--columns", "TotalCharges"], 2, "'Total Charges'"),
        (["--label", "churned", "--group", "'measured value 1234'"], 2, "'measured value 1"),
        (["--label", "zzz"], 65, "'"),
    ],
)
def test_a_mistyped_column_is_answered_with_the_nearest(arguments, code, nearest, wide):
    done = mlp_job("data", wide, *arguments)
    said = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == code
    assert nearest in said["hint"]


def test_it_ends_as_train_would_on_too_few_rows_to_validate_on(tmp_path):
    (tmp_path / "t.csv").write_text("n,c\n1.5,a\n2.5,a\n3.5,b\n4.5,b\n")
    (tmp_path / "test.csv").write_text("n,c\n1.25,a\n3.25,b\n")
    options = ("--test-data", tmp_path / "test.csv", "--label", "c", "--model", "mlp")
    ended = [
        mlp_job("data", tmp_path / "t.csv", *options),
        mlp_job("train", "--data", tmp_path / "t.csv", *options, "--name", "t",
                "--store", tmp_path / "store", "--device", "cpu"),
    ]  # fmt: skip
    assert [each.returncode for each in ended] == [65, 65]
    for text in (ended[0].stderr, ended[1].stdout):
        assert "to fit and to validate on" in text


@pytest.mark.slow
def test_of_a_table_that_is_streamed_it_shows_a_sample_and_says_so(tmp_path):
    (tmp_path / "parts").mkdir()
    for part in range(4):
        lines = "".join(f"{i % 7},{i / 3:.3f},{'yn'[i % 2]}\n" for i in range(60_000))
        (tmp_path / "parts" / f"{part}.csv").write_text("count,amount,label\n" + lines)
    (tmp_path / "small.csv").write_text((tmp_path / "parts" / "0.csv").read_text())

    def shown(*arguments):
        done = mlp_job("data", *arguments, "--label", "label", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    some = shown(tmp_path / "parts", "--feed", "stream")
    assert some["rows"] == {"sample": 200_000}
    assert "first rows of 4 of 4 files" in some["problems"][0]
    assert "--all" in some["problems"][0]
    assert [c["distinct"] for c in some["columns"]] == [7, 50_000, 2]

    every = shown(tmp_path / "parts", "--feed", "stream", "--all")
    assert sum(every["rows"].values()) == 240_000
    assert every["classes"].keys() == {"y", "n"}
    assert every == shown(tmp_path / "parts", "--feed", "memory")
    assert "sample" not in shown(tmp_path / "small.csv", "--feed", "stream")["rows"]

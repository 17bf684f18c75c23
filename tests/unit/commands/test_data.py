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

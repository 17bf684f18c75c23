"""Where predictions may be written, and what they carry besides their classes."""

import datetime as dt
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from job.errors import DataError, UsageError
from job.inference import predictions


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data2").mkdir()
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "a[1].csv").write_text("")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("rows", "output"),
    [
        ("data", "data/out.csv"),
        ("data/", "data/sub/out.csv"),
        ("link", "data/out.csv"),
        (".", "out.csv"),
        ("data", "/proc/self/cwd/data/out.csv"),
        ("a.csv, data", "data/out.parquet"),
        ("data/*.csv", "data/out.csv"),
        ("*/*.csv", "link/../data/out.csv"),
        ("a[1].csv", "a[1].csv"),
        ("s3://b", "s3://b/out.csv"),
        ("s3a://b", "s3://b/out.csv"),
        ("s3://b/data", "s3n://b/data/out.csv"),
        ("s3://b/data/", "s3://b/data/out.csv"),
        ("a.csv,s3://b/2026-*/*.csv", "s3://b/2026-01/out.csv"),
    ],
)
def test_an_output_among_the_rows_is_refused(rows: str, output: str) -> None:
    with pytest.raises(UsageError, match="not among the rows"):
        predictions.check(output, rows)


@pytest.mark.parametrize(
    ("rows", "output"),
    [
        ("data", "out.csv"),
        ("data", "data2/out.csv"),
        ("data/*.csv", "data/out.parquet"),
        ("data/*", "data/sub/out.csv"),
        ("a[1].csv", "a1.csv"),
        ("data,", "out.csv"),
        ("data\0", "data/out.csv"),
        (".", "s3://b/out.csv"),
        ("s3://b/data", "out.csv"),
        ("s3://b/data", "s3://b/data2/out.csv"),
        ("s3://b/*.csv", "s3://b/sub/out.csv"),
    ],
)
def test_an_output_beside_the_rows_is_taken(rows: str, output: str) -> None:
    predictions.check(output, rows)


SAID = np.array([[0.25, 0.75], [0.75, 0.25]], np.float32)
DAY = dt.datetime(2026, 1, 31, 9, 30)
KEPT = {
    "id": [7, None],
    "class": ["mine", "ours"],
    "when": [DAY, None],
    "tags": [["a", "b"], None],
    "size": [float("inf"), 0.1],
    "gone": [None, None],
}


def written(output: str, *blocks: dict) -> int:
    made = (
        (SAID, {name: pa.chunked_array([pa.array(v)]) for name, v in each.items()})
        for each in blocks
    )
    return predictions.write(output, made, ("no", "yes"))


def test_kept_columns_stand_before_the_class_with_their_types() -> None:
    assert written("out.parquet", KEPT, KEPT) == 4
    rows = pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert rows[:2] == rows[2:]
    assert rows[0] == {
        "id": 7, "kept_class": "mine", "when": DAY, "tags": ["a", "b"], "size": float("inf"),
        "gone": None, "class": "yes", "probability_no": 0.25, "probability_yes": 0.75,
    }  # fmt: skip
    written("out.jsonl", KEPT)
    first, second = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert first == {
        "id": 7, "kept_class": "mine", "when": "2026-01-31 09:30:00", "tags": ["a", "b"],
        "size": "inf", "gone": None, "class": "yes", "probabilities": {"no": 0.25, "yes": 0.75},
    }  # fmt: skip
    assert (second["id"], second["class"]) == (None, "no")
    written("out.csv", KEPT)
    first, _ = pyarrow.csv.read_csv("out.csv").to_pylist()
    assert (first["id"], first["kept_class"], first["tags"]) == (7, "mine", '["a", "b"]')


@pytest.mark.parametrize("output", ["out.csv", "out.parquet", "out.jsonl"])
def test_a_kept_column_is_called_the_same_in_every_format(output: str) -> None:
    written(output, {"probability_yes": [1, 2], "class": [3, 4]})
    read = {".csv": pyarrow.csv.read_csv, ".parquet": pyarrow.parquet.read_table}
    if output.endswith(".jsonl"):
        names = list(json.loads(Path(output).read_text().splitlines()[0]))
    else:
        names = read[Path(output).suffix](output).column_names
    assert names[:2] == ["kept_probability_yes", "kept_class"]


def test_a_list_without_values_is_kept_in_csv() -> None:
    written("out.csv", {"tags": [["a"], []]})
    assert pyarrow.csv.read_csv("out.csv")["tags"].to_pylist() == ['["a"]', "[]"]


def test_a_kept_column_keeps_the_type_of_its_first_rows() -> None:
    assert written("out.parquet", {"id": [1.5, None]}, {"id": [2, 3]}) == 4
    table = pyarrow.parquet.read_table("out.parquet")
    assert table["id"].to_pylist() == [1.5, None, 2.0, 3.0]
    for name in ("bad.parquet", "bad.csv"):
        with pytest.raises(DataError, match=r"int64 in all files\. Received: string"):
            written(name, {"id": [1, 2]}, {"id": ["x", "y"]})
        assert not Path(name).exists()
    assert written("mixed.jsonl", {"id": [1, 2]}, {"id": ["x", "y"]}) == 4

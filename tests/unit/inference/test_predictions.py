"""Where predictions may be written: never among the rows that they are made from."""

from pathlib import Path

import pytest

from job.errors import UsageError
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

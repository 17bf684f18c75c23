"""Files as people have them: packed, copied, empty."""

import bz2
import gzip
import io
import lzma
import zipfile

import pyarrow as pa
import pytest
from data_files import refused

from job import data
from job.config import DataOptions
from job.data.files import opening
from job.errors import DataError

ROWS = ("a,y\n" + "".join(f"{i / 7},{'uv'[i % 2]}\n" for i in range(60))).encode()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


PACKED = {
    "a.csv.gz": gzip.compress(ROWS),
    "a.csv.bz2": bz2.compress(ROWS),
    "a.csv.xz": lzma.compress(ROWS),
    "a.csv.zst": pa.compress(ROWS, codec="zstd", asbytes=True),
    "a.csv.zip": zipped({"a.csv": ROWS}),
    "archive.zip": zipped(
        {"d/": "", "d/a.csv": ROWS, "__MACOSX/d/._a.csv": b"x", "d/.DS_Store": b"x"}
    ),
    "misnamed.csv": gzip.compress(ROWS),
}


def load(uri, **reading):
    return data.load(
        str(uri), test_uri=None, validation_split=0.25, scratch="/nowhere",
        reading=DataOptions(label="y", **reading),
    )  # fmt: skip


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain" / "a.csv"
    path.parent.mkdir()
    path.write_bytes(ROWS)
    return path


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_table_is_read_like_the_table(tmp_path, plain, name):
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    assert load(path).digest == load(plain).digest
    for cut in (len(PACKED[name]) // 2, len(PACKED[name]) - 5):
        path.write_bytes(PACKED[name][:cut])
        with refused(DataError, name):
            load(path)


def test_a_zip_archive_of_several_files_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped({"a.csv": ROWS, "b.csv": ROWS}))
    with refused(DataError, "one file", "2: a.csv, b.csv"):
        load(path)


def test_what_is_a_zip_archive_by_itself_is_not_unpacked(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(zipped({"[Content_Types].xml": b"x"}))
    with path.open("rb") as stream:
        assert opening.unpacked(stream) is stream


def test_an_empty_part_adds_nothing(tmp_path, plain):
    (plain.parent / "b.csv").write_bytes(b"")
    assert load(plain.parent).digest == load(plain).digest
    plain.write_bytes(b"")
    with refused(DataError):
        load(plain.parent)


def test_a_file_that_lies_there_twice_is_warned_of(plain):
    assert load(plain.parent).warnings == load(plain).warnings
    (plain.parent / "a (copy).csv").write_bytes(ROWS)
    assert any("1 file of 2 has the same contents" in w for w in load(plain.parent).warnings)
    (plain.parent / "a (copy).csv").unlink()
    (plain.parent / "a.csv.gz").write_bytes(gzip.compress(ROWS))
    assert any("1 file of 2 lies there twice" in w for w in load(plain.parent).warnings)
    (plain.parent / "a.csv.gz").unlink()
    (plain.parent / "b.csv").write_bytes(ROWS.replace(b"u", b"w"))  # as long, and another file
    assert not any("twice" in warning for warning in load(plain.parent).warnings)


def test_prose_beside_a_table_is_no_part_of_it(plain):
    (plain.parent / "README.txt").write_text("hello")
    (plain.parent / "meta.json").write_text("{}")
    assert load(plain.parent).digest == load(plain).digest

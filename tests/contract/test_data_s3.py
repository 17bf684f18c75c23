import numpy as np
import pytest
from data_files import arrays, load, refused, write_idx, write_npz

from job import data
from job.config import DataOptions
from job.errors import AccessDenied, DataError, DataNotFound, UsageError


@pytest.fixture
def put(s3, s3_uri):
    """Copies a file or a folder's files under the empty prefix; gives its URI."""

    def copy(path):
        prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
        for file in path.iterdir() if path.is_dir() else [path]:
            key = file.relative_to(path.parent)
            s3.client().put_object(Bucket=s3.bucket, Key=f"{prefix}/{key}", Body=file.read_bytes())
        return f"{s3_uri}/{path.name}"

    return copy


def from_s3(uri, scratch, test=None):
    return data.load(uri, test_uri=test, validation_split=0.25, scratch=scratch)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_a_prefix_of_idx_files_is_staged(tmp_path, put, packed):
    folder = write_idx(tmp_path / "idx", arrays(), packed=packed)
    (folder / "train-images-idx3-ubyte.md5").write_text("of no interest")
    scratch = tmp_path / "scratch"
    uri = put(folder)
    assert from_s3(uri, scratch).digest == load(folder).digest
    assert from_s3(uri + "/", scratch).uri == uri + "/"
    kept = {path: path.stat().st_mtime_ns for path in scratch.rglob("*") if path.is_file()}
    assert len(kept) == 4
    from_s3(uri, scratch)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not read a second time
    changed = arrays(seed=1) | {"y_train": arrays()["y_train"]}
    put(write_idx(tmp_path / "idx", changed, packed=packed))
    assert from_s3(uri, scratch).digest == load(folder).digest


def test_an_npz_object_is_staged_and_test_rows_may_come_from_another(tmp_path, put):
    parts = arrays()
    uri = put(write_npz(tmp_path / "train.npz", **{k: parts[k] for k in ("x_train", "y_train")}))
    test = put(write_npz(tmp_path / "test.npz", x=parts["x_test"], y=parts["y_test"]))
    whole = write_npz(tmp_path / "whole.npz", **parts)
    assert from_s3(uri, tmp_path / "scratch", test).digest == load(whole).digest
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "scratch").rglob("*") if p.is_file()}
    from_s3(uri, tmp_path / "scratch", test)
    assert len(kept) == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(DataError) as caught:
        from_s3(test, tmp_path / "scratch")
    uri = test
    assert uri in caught.value.message
    assert "scratch" not in caught.value.message


def test_rows_to_predict_come_from_s3(tmp_path, put):
    parts = arrays()
    np.save(tmp_path / "x.npy", parts["x_test"])
    uri = put(tmp_path / "x.npy")
    (block,) = data.rows(
        uri, shape=(3, 2), dtype="uint8", scratch=tmp_path / "scratch", block_rows=99
    )
    np.testing.assert_array_equal(block, parts["x_test"])


def test_what_is_not_there_is_not_found(tmp_path, s3_uri, put):
    with refused(DataNotFound, "nothing.npz"):
        from_s3(f"{s3_uri}/nothing.npz", tmp_path)
    with refused(DataNotFound, "s3://", "nothing/"):
        from_s3(f"{s3_uri}/nothing/", tmp_path)
    with refused(DataNotFound):
        from_s3("s3://no-such-bucket-here/data.npz", tmp_path)
    with refused(DataNotFound):
        from_s3("s3://no-such-bucket-here/data", tmp_path)
    parts = arrays()
    uri = put(write_idx(tmp_path / "idx", {"x_train": parts["x_train"]}))
    with refused(DataNotFound, uri, "train-labels-idx"):
        from_s3(uri, tmp_path / "scratch")


ROWS = "a,y\n" + "".join(f"{i / 7},{'uv'[i % 2]}\n" for i in range(60))


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
def test_the_marks_of_folders_are_no_files(tmp_path, s3, s3_uri, scheme):
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
    for key, body in (("", ""), ("sub/", ""), ("part-1.csv", ROWS), ("part-2.csv", "")):
        s3.client().put_object(Bucket=s3.bucket, Key=f"{prefix}/{key}", Body=body.encode())
    uri = f"{scheme}{s3_uri.removeprefix('s3')}"
    reading = DataOptions(label="y")
    for each in (uri, f"{uri}/", f"{uri}/part-1.csv", f"{uri}/*.csv"):
        dataset = data.load(
            each, test_uri=None, validation_split=0.25, scratch=tmp_path, reading=reading
        )
        assert len(dataset.train) + len(dataset.test) == 60


def test_wrong_credentials_are_a_matter_of_access(tmp_path, put, monkeypatch):
    uri = put(write_npz(tmp_path / "data.npz", **arrays()))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with refused(AccessDenied):
        from_s3(uri, tmp_path / "scratch")


def test_one_object_is_read_without_the_right_to_list(tmp_path, s3, put, monkeypatch):
    uri = put(write_npz(tmp_path / "data.npz", **arrays()))
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{uri.removeprefix('s3://')}",
    }
    identity = s3.identity({"Version": "2012-10-17", "Statement": [statement]})
    for name, value in identity.items():
        monkeypatch.setenv(name, value)
    assert len(from_s3(uri, tmp_path / "scratch").train) == 40


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket/", "s3://x.npz", "s3://b/a/../x.npz"])
def test_a_uri_that_names_no_object_is_refused(tmp_path, uri):
    with refused(UsageError):
        list(data.rows(uri, shape=(3,), dtype="uint8", scratch=tmp_path, block_rows=9))


@pytest.mark.parametrize("uri", ["s3://", "s3:///", "s3:///x.npz", "s3:///x.csv"])
def test_a_uri_without_a_bucket_is_refused(uri):
    with refused(UsageError, "expected s3://BUCKET/KEY"):
        load(uri)

"""Tables of image files and their labels."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from data_files import refused
from PIL import Image
from pyarrow import parquet

from job import data
from job.config import DataOptions
from job.data.findings import sentence
from job.errors import DataError, UsageError

COUNT = 60


def load(uri, test=None, scratch="/nowhere", label="kind", **reading):
    return data.load(
        str(uri), test_uri=test and str(test), validation_split=0.25, scratch=scratch,
        reading=DataOptions(label=label, **reading),
    )  # fmt: skip


def pixels(i):
    return np.random.default_rng(i).integers(0, 256, (6, 5)).astype(np.uint8)


def label(i):
    return "cat" if i % 3 else "dog"


def write_images(folder, names, first=0):
    for i, name in enumerate(names, start=first):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(i)).save(folder / name)


def write_table(path, names, labels=None, **columns):
    labels = labels or [label(i) for i in range(len(names))]
    rows = {"file": names, "kind": labels, **columns}
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(rows), path)
    elif path.suffix == ".jsonl":
        lines = (dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        comma = "\t" if path.suffix == ".tsv" else ","
        lines = [rows, *zip(*rows.values(), strict=True)]
        path.write_text("".join(comma.join(map(str, line)) + "\n" for line in lines))
    return path


def images_by_class(dataset):
    parts = (dataset.train, dataset.test)
    return {(x.tobytes(), dataset.classes[y]) for p in parts for x, y in zip(p.x, p.y, strict=True)}


WANTED = {(pixels(i).tobytes(), label(i)) for i in range(COUNT)}
FLAT = [f"{i:03}.png" for i in range(COUNT)]
DEEP = [f"{'ab'[i % 2]}/{i // 2}.png" for i in range(COUNT)]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (FLAT, FLAT),
        ([f"images/{name}" for name in FLAT], FLAT),
        ([f"images/{name}" for name in FLAT], [f"images/{name}" for name in FLAT]),
        ([f"deep/er/{name}" for name in FLAT], FLAT),
        (DEEP, [f"C:\\set\\{name}".replace("/", "\\") for name in DEEP]),
        ([f"here/{name}" for name in DEEP], [f"/content/drive/{name}" for name in DEEP]),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_a_table_of_names_and_labels_is_read(images, names, ending, tmp_path):
    write_images(tmp_path, images)
    table = write_table(tmp_path / f"labels.{ending}", names)
    for uri in (table, tmp_path):
        dataset = load(uri)
        assert images_by_class(dataset) == WANTED
        assert dataset.held_out_of == COUNT
        assert not dataset.findings


@pytest.mark.slow
def test_a_table_of_images_in_s3(s3, s3_uri, tmp_path):
    write_images(tmp_path / "in", [f"images/{name}" for name in FLAT])
    write_table(tmp_path / "in" / "labels.csv", FLAT)
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")
    for path in (tmp_path / "in").rglob("*.*"):
        key = f"{prefix}/{path.relative_to(tmp_path / 'in').as_posix()}"
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=path.read_bytes())
    local = load(tmp_path / "in")
    for uri in (s3_uri, f"{s3_uri}/labels.csv"):
        assert load(uri, scratch=tmp_path / "scratch").digest == local.digest


def test_other_columns_are_left_out_with_a_word(tmp_path):
    write_images(tmp_path, FLAT)
    age = [i * 7 % 5 for i in range(COUNT)]
    table = write_table(tmp_path / "labels.csv", FLAT, age=age)
    dataset = load(table)
    assert images_by_class(dataset) == WANTED
    assert [sentence(f) for f in dataset.findings] == [
        "Column 'file' names images, and those are learned from; other columns are left out "
        "('age'). `--exclude` with its name learns from the others."
    ]
    assert load(table, exclude=("file",)).table.schema.columns[0].name == "age"


def test_predictions_carry_the_files_and_the_columns_to_keep(tmp_path):
    write_images(tmp_path, FLAT)
    labels = ["" if i == 5 else label(i) for i in range(COUNT)]
    table = write_table(tmp_path / "labels.csv", FLAT, labels, age=list(range(COUNT)))
    dataset = load(table, keep=("age",))
    assert [f.code for f in dataset.findings] == ["unlabelled-rows"]
    ages = [int(age) for age in dataset.kept["age"].to_pylist()]
    assert dataset.kept["file"].tolist() == [str(tmp_path / FLAT[i]) for i in ages]
    assert [x.tobytes() for x in dataset.test.x] == [pixels(i).tobytes() for i in ages]
    with refused(UsageError, "--keep", "'agee'", "age"):
        load(table, keep=("agee",))
    found = data.images_of(str(table), tmp_path, DataOptions(keep=("age", "gone")))
    [(_, kept, _)] = data.unlabelled(found, shape=(6, 5), reading=DataOptions())
    assert kept["age"].to_pylist() == [str(i) for i in range(COUNT)]
    assert set(kept) == {"file", "age"}
    folder = data.images_of(str(tmp_path / "0*.png"), tmp_path, DataOptions(keep=("age",)))
    [(_, kept, _)] = data.unlabelled(folder, shape=(6, 5), reading=DataOptions())
    assert set(kept) == {"file"}


def test_whole_numbers_are_labels_and_rows_without_one_are_left_out(tmp_path):
    write_images(tmp_path, FLAT)
    labels = ["" if i == 5 else i % 2 for i in range(COUNT)]
    dataset = load(write_table(tmp_path / "labels.csv", FLAT, labels))
    assert dataset.classes == (0, 1)
    assert len(images_by_class(dataset)) == COUNT - 1
    assert [(f.code, f.count) for f in dataset.findings] == [("unlabelled-rows", 1)]


def test_images_that_are_not_there_count_as_damaged(tmp_path):
    write_images(tmp_path, FLAT[:-3])
    table = write_table(tmp_path / "labels.csv", FLAT)
    with refused(DataError, "3 of 60", "057.png (no such file)"):
        load(table)
    dataset = load(table, allow=("damaged",))
    assert len(dataset.train) + len(dataset.test) == COUNT - 3
    for name in FLAT[:-3]:
        (tmp_path / name).unlink()
    with refused(DataError, "none of 60", "000.png"):
        load(table)


def test_a_group_keeps_images_on_one_side(tmp_path):
    write_images(tmp_path, FLAT)
    patients = [f"p{i % 20}" for i in range(COUNT)]
    dataset = load(write_table(tmp_path / "labels.csv", FLAT, patient=patients), group="patient")
    known = {pixels(i).tobytes(): patients[i] for i in range(COUNT)}
    sides = [{known[x.tobytes()] for x in part.x} for part in (dataset.train, dataset.test)]
    assert sides[0].isdisjoint(sides[1])
    assert sides[1]
    with refused(UsageError, "'patiant'"):
        load(tmp_path / "labels.csv", group="patiant")


def test_test_rows_and_rows_to_predict_may_be_tables_too(tmp_path):
    write_images(tmp_path, FLAT)
    train = write_table(tmp_path / "fit.csv", FLAT[:40])
    test = write_table(tmp_path / "other.csv", FLAT[40:], [label(i) for i in range(40, COUNT)])
    dataset = load(train, test)
    assert (len(dataset.train), len(dataset.test)) == (40, 20)
    reading = DataOptions(label="kind")
    scored, findings = data.load_test(
        "unused", test_uri=str(test), classes=dataset.classes, shape=(6, 5), dtype="uint8",
        scratch=tmp_path, reading=reading,
    )  # fmt: skip
    np.testing.assert_array_equal(scored.x, dataset.test.x)
    assert not findings
    rows = tmp_path / "new.csv"
    rows.write_text("file\n" + "\n".join(FLAT[40:]) + "\n")
    [(x, names, _)] = data.unlabelled(
        data.images_of(str(rows), tmp_path, reading), shape=(6, 5), reading=reading
    )
    np.testing.assert_array_equal(x, dataset.test.x)
    assert list(names["file"]) == [str(tmp_path / name) for name in FLAT[40:]]


def test_images_to_predict_may_lie_beside_a_table(tmp_path):
    write_images(tmp_path, FLAT[:3])
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    assert len(data.images_of(str(tmp_path), tmp_path).files) == 3


def test_a_table_that_names_no_images_stays_a_table(tmp_path):
    table = write_table(tmp_path / "a.csv", [f"{i}.5" for i in range(COUNT)])
    assert load(table).table is not None
    assert data.images_of(str(table), tmp_path) is None


def test_the_identity_of_a_table_counts_the_images_that_it_names(tmp_path):
    write_images(tmp_path / "in", [f"images/{name}" for name in FLAT])
    table = write_table(tmp_path / "in" / "labels.csv", FLAT)
    reading = DataOptions(label="kind")
    first = data.identity(str(table), reading)
    assert len(first) == COUNT + 1
    shutil.copytree(tmp_path / "in", tmp_path / "copy")
    assert data.identity(str(tmp_path / "copy" / "labels.csv"), reading) == first
    write_images(tmp_path / "in", ["images/000.png"], first=99)
    assert data.identity(str(table), reading) != first
    (tmp_path / "in" / "images" / "000.png").unlink()
    assert ("000.png", -1, "") in data.identity(str(table), reading)


def test_an_unknown_finding_cannot_be_allowed(tmp_path):
    write_images(tmp_path, FLAT)
    table = write_table(tmp_path / "labels.csv", FLAT)
    with pytest.raises(UsageError, match="'damage'") as caught:
        load(table, allow=("damage",))
    assert "damaged" in caught.value.hint

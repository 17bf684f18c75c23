"""Tables: what is inferred, split, encoded and refused."""

import contextlib
import dataclasses
import datetime as dt
import gzip
import json
import os
import shlex
import subprocess
import sys
from functools import partial

import churn
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from data_files import arrays, refused, write_idx, write_npz
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from job import data
from job.commands.data import inspection
from job.config import Config, DataOptions
from job.data import hashing
from job.data.files import staging
from job.data.findings import holding, sentence
from job.data.schema import MISSING_INTEGER, changes
from job.data.table import reader
from job.errors import DataError, DataNotFound, JobError, StoreError, UsageError
from job.storage import open_store

LEFT_OUT = {"customer_id", "country", "household"}


def load(uri, test=None, *, split=0.25, scratch="/nowhere/scratch", **reading):
    options = DataOptions(**{"label": "churned", "exclude": ("household",)} | reading)
    return data.load(
        str(uri), test_uri=test and str(test), validation_split=split, scratch=scratch,
        reading=options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return churn.write_csv(tmp_path_factory.mktemp("table") / "churn.csv", churn.rows())


def test_columns_are_what_they_look_like(table):
    dataset = load(table)
    schema = dataset.table.schema
    assert {c.name: (c.kind, c.dtype) for c in schema.columns} == {
        "monthly fee": ("number", "float32"),
        "tenure/months": ("number", "float32"),
        "complaints": ("category", "int64"),
        "paperless": ("boolean", "int64"),
        "city": ("category", "string"),
    }
    assert set(schema.ignored) == LEFT_OUT
    assert any("customer_id" in told and "identifier" in told for told in dataset.warnings)
    assert any("country" in told and "one value" in told for told in dataset.warnings)
    assert dataset.classes == ("no", "yes")
    by_name = {c.name: c for c in schema.columns}
    assert by_name["city"].categories == ("Köln", "Osaka", "San Juan, PR")
    assert by_name["city"].has_missing
    assert by_name["monthly fee"].has_missing
    assert by_name["complaints"].categories == (0, 1, 2, 3)
    assert schema.width == 2 + 1 + 5 + 3 + 5
    assert {name: array.shape[1] for name, array in dataset.train.x.items()} == {
        "numbers": 2,
        "codes": 3,
    }


def test_the_format_packing_and_number_of_files_do_not_matter(table, tmp_path):
    rows = churn.rows()
    churn.write_csv(tmp_path / "a.csv.gz", rows)
    churn.write_parquet(tmp_path / "b.parquet", rows)
    shards = tmp_path / "shards"
    shards.mkdir()
    for i in range(4):
        churn.write_parquet(shards / f"part-{i}.parquet", rows[i * 200 : (i + 1) * 200])
    (shards / "_SUCCESS").write_text("")
    digest = load(table).digest
    for uri in (
        tmp_path / "a.csv.gz",
        tmp_path / "b.parquet",
        shards,
        f"{shards}/part-*.parquet",
        ",".join(str(shards / f"part-{i}.parquet") for i in range(4)),
    ):
        assert load(uri).digest == digest, uri


def test_statistics_come_from_the_rows_that_the_gradient_sees(table, tmp_path):
    rows = churn.rows()
    dataset = load(table)
    order = list(range(len(rows)))
    typed = churn.typed(rows)["monthly fee"].to_pylist()
    schema = dataset.table.schema
    fee = schema.columns[0]
    assert schema.rows == len(dataset.fit_rows)
    # The test side does not change what is learned: other values there, the same statistics.
    kept = load(table, split=0.25)
    x = kept.train.x["numbers"][kept.fit_rows][:, 0]
    column = kept.table.schema.columns[0]
    assert np.nanmean(x) == pytest.approx(column.mean, rel=1e-5)
    assert np.nanvar(x) == pytest.approx(column.variance, rel=1e-4)
    whole = np.array([v for v in (typed[i] for i in order) if v is not None])
    assert fee.mean != pytest.approx(whole.mean(), abs=1e-9)


def test_a_row_stays_on_its_side_when_the_data_grows(tmp_path):
    old, new = churn.rows(300), churn.rows(500, seed=1)
    rng = np.random.default_rng(0)
    first = load(churn.write_csv(tmp_path / "old.csv", old))
    mixed = [(old + new)[i] for i in rng.permutation(800)]
    second = load(churn.write_parquet(tmp_path / "both.parquet", mixed))

    def fees(dataset):
        column = dataset.table.test["monthly fee"]
        return set(column[~np.isnan(column)].tolist())

    assert fees(first) <= fees(second)
    assert len(fees(second)) > len(fees(first))


def row_hashes(columns):
    return hashing.mixed(sum(hashing.column(*each) for each in columns.items()))


def test_the_hash_of_a_row_is_the_same_in_every_version():
    columns = {
        "n": pa.array([1, None, 2]),
        "x": pa.array([0.5, -0.0, float("nan")]),
        "s": pa.array(["a", "ü", None]),
        "b": pa.array([True, False, None]),
    }
    hashes = row_hashes(columns)
    assert [f"{h:016x}" for h in hashes] == GOLDEN
    again = {name: columns[name] for name in reversed(columns)}
    again["n"] = pa.array([1.0, None, 2.0])
    again["empty"] = pa.nulls(3)
    assert row_hashes(again).tolist() == hashes.tolist()


@pytest.mark.parametrize("rows", [(0, 5), (5, 0), (40, 60), (3000, 700)])
def test_duplicates_are_counted_exactly(rows):
    rng = np.random.default_rng(0)
    train, test = (hashing.mixed(rng.integers(0, 2000, n).astype(np.uint64)) for n in rows)
    train[: len(test) // 2] = test[: len(train)][: len(test) // 2] + np.uint64(1)  # neighbours
    order = train.copy()
    expected = sum(value in set(train.tolist()) for value in test.tolist())
    assert hashing.duplicates(train, test) == expected
    assert (train == order).all()


GOLDEN = ["ee2ffda3466cb853", "63d170776935773f", "eae98eb260e6b29e"]


def test_a_group_stays_together(table):
    dataset = load(table, group="household", exclude=())
    rows = {row["household"]: [] for row in churn.rows()}
    for row in churn.rows():
        rows[row["household"]].append(row)
    sizes = {len(v) for v in rows.values()}
    assert max(sizes) > 1
    assert dataset.table.schema.group == "household"
    hashes = row_hashes({"household": pa.array(list(rows))})
    out = hashing.held_out(hashes, 0.2)
    expected = sum(len(v) for v, held in zip(rows.values(), out, strict=True) if held)
    assert len(dataset.test) == expected


def test_the_rows_of_several_files_keep_their_places(tmp_path):
    for name, count in (("a", 70), ("b", 50)):
        churn.write_csv(tmp_path / f"{name}.csv", churn.rows(count, seed=count))
    source = load(tmp_path).table.source
    files, numbers = source.places(slice(0, len(source)))
    names = [name for name, _ in source.files]
    found = [(names[file], int(number)) for file, number in zip(files, numbers, strict=True)]
    assert found == [source.where(row) for row in range(len(source))]
    assert {file for file, _ in found} == set(names)


def test_the_label_is_nothing_to_keep(table):
    with refused(UsageError, "--keep", "the label"):
        load(table, keep=("churned",))


def test_duplicates_across_the_split_are_counted_and_can_be_refused(tmp_path):
    rows = churn.rows(300)
    train = churn.write_csv(tmp_path / "train.csv", rows)
    test = churn.write_csv(tmp_path / "test.csv", churn.rows(80, seed=3) + rows[:7])
    dataset = load(train, test)
    assert dataset.duplicates == 7
    assert any("7 of 87 test rows" in told for told in dataset.warnings)
    with refused(DataError, "7 of 87"):
        load(train, test, refuse_leakage=True)
    assert load(train, test, refuse_leakage=True, allow=("leakage",)).duplicates == 7


def test_options_choose_exclude_and_retype(table):
    def kinds(**reading):
        return {c.name: c.kind for c in load(table, **reading).table.schema.columns}

    assert kinds(columns=("city", "complaints")) == {"city": "category", "complaints": "category"}
    assert "city" not in kinds(exclude=("city", "household"))
    assert kinds(number=("complaints",))["complaints"] == "number"
    assert kinds(category=("customer_id",))["customer_id"] == "category"
    with pytest.raises(UsageError, match=r"--exclude: expected .*'nothing', no such column"):
        load(table, exclude=("nothing",))
    with pytest.raises(UsageError, match="--label: expected"):
        load(table, label=None)


def test_codes_that_are_equal_as_numbers_are_no_duplicates(tmp_path):
    train, test = (
        churn.write_csv(
            tmp_path / f"{form}.csv",
            [{"zip": form % (i % 9), "churned": "yn"[i % 2]} for i in range(60)],
        )
        for form in ("%d00", "0%d00")
    )
    dataset = load(train, test, exclude=(), category=("zip",))
    assert dataset.duplicates == 0
    assert dataset.digest != load(test, train, exclude=(), category=("zip",)).digest


def test_a_column_that_fills_up_moves_test_rows_and_that_is_told(table, tmp_path):
    rows = churn.rows()
    for row in rows:
        row["tenure/months"] = ""
    empty = load(churn.write_csv(tmp_path / "empty.csv", rows)).table.schema
    full = load(table).table.schema
    for old, new in ((empty, full), (full, empty)):
        assert any(
            said.startswith("test rows have moved") and "'tenure/months'" in said
            for said in changes(old, new)
        )


def test_numbers_that_are_missing_for_the_first_time_are_told(table, tmp_path):
    schema = load(table).table.schema
    rows = churn.rows(40, seed=5)
    for row in rows[:10]:
        row["tenure/months"] = row["monthly fee"] = ""  # the latter were missing in training, too
    path = churn.write_csv(tmp_path / "new.csv", rows)
    [(*_, said)] = list(data.table_rows(str(path), schema, tmp_path))
    assert [sentence(each) for each in said] == [
        "Column 'tenure/months': 25.0% of the values are missing; in training none were."
    ]


def test_a_file_that_is_named_twice_is_refused(table):
    for uri in (f"{table},{table}", f"{table.parent}/c*.csv,{table}"):
        with refused(DataError, "churn.csv twice"):
            load(uri)


@pytest.mark.parametrize(("one", "other"), [("number", "category"), ("columns", "exclude")])
def test_options_that_contradict_each_other(table, one, other):
    with pytest.raises(UsageError, match=f"--{one}: .*--{other}.*'complaints' in both"):
        load(table, **{one: ("complaints",), other: ("complaints",)})


def test_imbalance_is_told(tmp_path):
    rows = churn.rows(400)
    for i, row in enumerate(rows):
        row["churned"] = "yes" if i % 40 == 0 else "no"
    assert any(
        "uneven" in told for told in load(churn.write_csv(tmp_path / "u.csv", rows)).warnings
    )


def test_changes_between_nights_are_told(table, tmp_path):
    rows = churn.rows(800, seed=2)
    for row in rows:
        row["city"] = row["city"].replace("Osaka", "Ōsaka")
        del row["paperless"]
        row["visits"] = f"{len(row['household']) * 0.37 + int(row['complaints']):.2f}"
    new = load(churn.write_csv(tmp_path / "new.csv", rows)).table.schema
    said = changes(load(table).table.schema, new)
    assert said == (
        "column 'city' has 1 new category",
        "column 'city' has lost 1 category",
        "column 'paperless' is gone",
        "column 'visits' is new",
        "test rows have moved, since other columns choose them ('paperless', 'visits'); with "
        "--group KEY they stay",
    )
    assert changes(new, new) == ()


HEADER = b"age,city,label\n"
GOOD = HEADER + b"".join(
    b"%d.5,%s,%s\n" % (i, b"xy"[i % 2 :][:1], b"ab"[i % 2 :][:1]) for i in range(60)
)


def change(row, text):
    """The good table with one line (0 is the header) replaced."""
    lines = GOOD.split(b"\n")
    lines[row] = text
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (change(8, b"1.5,x\n" * 5 + b"1.5,x"), ("3 fields", "row 7", "Received: 2")),
        (change(8, b"1.5,x,a,b\n" * 5 + b"1,x,a,b"), ("3 fields", "row 7", "Received: 4")),
        (change(8, b"1.5,x\0,a"), ("NUL", "row 7", "'city'")),
        (change(0, b"age,\0,label"), ("NUL", "line 1", "byte 4")),
        (bytes(range(256)) * 20, ("NUL",)),
        (change(8, b"1.5,%s,a" % (b"x" * (20 << 20))), ("8 MiB",)),
        (change(8, b'1.5,"x,a') + b"2.5,x,a\n" * (3 << 20), ("quote",)),
        (change(8, b'1.5,"x,a'), ("quote",)),
        (change(0, b"1.5,x,b"), ("'label'", "'x0'", "--csv header=yes")),
        (change(0, b"age,%s,label" % (b"x" * (2 << 20))), ("8 MiB",)),
        (HEADER, ("at least one row",)),
        (HEADER[:-1], ("at least one row",)),
        (b"", ("header",)),
        (b"\n\n", ("header",)),
        (GOOD.replace(b",b\n", b",a\n"), ("two classes",)),
        (GOOD.replace(b",b\n", b",\n").replace(b",a\n", b",\n"), ("missing values only",)),
        (HEADER + b"".join(b"%d.5,x,c%d\n" % (i, i) for i in range(40)), ("two training rows",)),
    ],
)  # fmt: skip
def test_bad_csv_is_refused_with_its_place(body, words, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(body)
    packed = tmp_path / "bad.csv.gz"
    packed.write_bytes(gzip.compress(body, 1))
    for file in (path, packed):
        with pytest.raises(DataError) as caught:
            load(file, label="label", exclude=(), test=None)
        told = f"{caught.value.message} {caught.value.hint}"
        assert str(file) in told
        for word in words:
            assert word in told, told


def three_columns(path, pairs):
    """Rows of a (a number), b and y."""
    lines = [f"{i}.5,{b},{y}" for i, (b, y) in enumerate(pairs)]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    return path


def test_columns_without_values_and_labels_without_values_are_shown(tmp_path):
    def seen(path):
        config = Config.of(data=str(path), label="y", name="t")
        return inspection.inspect(config, None, tmp_path)

    empty = three_columns(tmp_path / "empty.csv", [("", "ab"[i % 2]) for i in range(60)])
    parquet = tmp_path / "null.parquet"
    columns = {"a": np.arange(60) / 2, "b": pa.nulls(60), "y": ["a", "b"] * 30}
    pyarrow.parquet.write_table(pa.table(columns), parquet)
    for path in (empty, parquet):
        [_, b, _] = seen(path).columns
        assert (b.missing, b.distinct) == (60, 0)
    unlabelled = three_columns(tmp_path / "unlabelled.csv", [("", "")] * 60)
    pyarrow.parquet.write_table(pa.table(columns | {"y": pa.nulls(60)}), parquet)
    for path in (unlabelled, parquet):
        assert "labels in column 'y'" in seen(path).error.message


@pytest.mark.parametrize("first", [10**18, 2**63 - 2, -(2**63) + 1])
def test_large_whole_numbers_are_told_apart_as_labels(first, tmp_path):
    labels = [first + i % 2 for i in range(60)]
    path = three_columns(tmp_path / "large.csv", [("x", label) for label in labels])
    assert load(path, label="y", exclude=()).classes == (first, first + 1)
    types = (pa.int64(), pa.uint64()) if first > 0 else (pa.int64(),)
    for kind in types:
        table = pa.table({"a": np.arange(60) / 2, "y": pa.array(labels, kind)})
        pyarrow.parquet.write_table(table, tmp_path / "large.parquet")
        dataset = load(tmp_path / "large.parquet", label="y", exclude=())
        assert dataset.classes == (first, first + 1)
        _, y, _ = data.load_test_table(
            str(path.with_suffix(".parquet")), test_uri=str(path.with_suffix(".parquet")),
            classes=dataset.classes, schema=dataset.table.schema,
            reading=DataOptions(label="y"), scratch=tmp_path,
        )  # fmt: skip
        assert y.tolist() == [0, 1] * 30


def test_labels_larger_than_64_bits_are_texts_unless_they_are_floats(tmp_path):
    path = three_columns(tmp_path / "y.csv", [(f"x{i % 7}", 10**20 + i % 2) for i in range(60)])
    assert load(path, label="y", exclude=()).classes == (str(10**20), str(10**20 + 1))
    floats = pa.table({"a": np.arange(60) / 3, "y": [1e20, 2e20] * 30})
    pyarrow.parquet.write_table(floats, tmp_path / "y.parquet")
    with refused(DataError, "64-bit"):
        load(tmp_path / "y.parquet", label="y", exclude=())


def test_huge_whole_numbers_are_left_out_for_the_true_reason(tmp_path):
    def said(b):
        table = pa.table({"a": np.arange(60) / 2, "b": b, "y": ["a", "b"] * 30})
        pyarrow.parquet.write_table(table, tmp_path / "huge.parquet")
        return " ".join(load(tmp_path / "huge.parquet", label="y", exclude=()).warnings)

    for kind in (pa.int64(), pa.uint64()):
        assert "identifier" in said(pa.array([2**63 - 1 - i for i in range(60)], kind))
    assert "too large to tell apart" in said(
        pa.array([2**64 - 1 - i for i in range(60)], pa.uint64())
    )
    assert "one value" in said(pa.array([7] * 60, pa.uint64()))
    path = three_columns(tmp_path / "a.csv", [(2**63 - 1 - i, "ab"[i % 2]) for i in range(60)])
    assert "identifier" in " ".join(load(path, label="y", exclude=()).warnings)


def test_a_huge_number_leaves_all_figures_finite(tmp_path):
    lines = [f"{'1e38' if i % 10 else i},{i % 7}.5,{'ab'[i % 2]}" for i in range(60)]
    path = tmp_path / "huge.csv"
    path.write_text("\n".join(["a,b,y", *lines]))
    dataset = load(path, label="y", exclude=())
    huge = next(column for column in dataset.table.schema.columns if column.name == "a")
    assert huge.maximum == pytest.approx(1e38)
    assert huge.variance == np.finfo(np.float32).max
    assert not any(np.isinf(array).any() for array in dataset.train.x.values())


def test_advice_names_the_real_cause(tmp_path):
    path = three_columns(tmp_path / "text.csv", [("x", "ab"[i % 2]) for i in range(60)])
    with refused(DataError, "as --number says"):
        load(path, label="y", exclude=(), number=("b",))
    with refused(DataError, "in 1 of 3 rows: too few of a class"):
        (tmp_path / "few.csv").write_text("a,y\n1,x\n2,y\n3,z\n")
        load(tmp_path / "few.csv", label="y", exclude=())


def test_the_share_of_a_table_that_is_scored_is_told(table, tmp_path):
    dataset = load(table)

    def scored(test_uri):
        _, y, said = data.load_test_table(
            str(table), test_uri=test_uri, classes=dataset.classes, schema=dataset.table.schema,
            reading=DataOptions(label="churned", exclude=("household",)), scratch=tmp_path,
        )  # fmt: skip
        return len(y), [each for each in map(sentence, said) if "are scored" in each]

    rows, [told] = scored(None)
    assert rows == len(dataset.test)
    assert f"{rows} of {rows + len(dataset.train)} rows" in told
    assert scored(str(table)) == (rows + len(dataset.train), [])


def test_a_value_of_another_kind_moves_no_row_but_its_own(tmp_path):
    def test_rows(name, rows):
        dataset = load(churn.write_csv(tmp_path / name, rows))
        return set(dataset.table.test["monthly fee"][~np.isnan(dataset.table.test["monthly fee"])])

    before = test_rows("before.csv", churn.rows())
    grown = [*churn.rows(), *churn.rows(50, seed=9)]
    grown[-1]["paperless"] = "on request"
    assert before <= test_rows("after.csv", grown)


def test_the_rows_that_are_scored_are_those_that_training_held_out(table, tmp_path):
    dataset = load(table)

    def scored(rows):
        return data.load_test_table(
            str(churn.write_csv(tmp_path / "later.csv", rows)),
            test_uri=None, classes=dataset.classes, schema=dataset.table.schema,
            reading=DataOptions(label="churned", exclude=("household",)), scratch=tmp_path,
        )[0].test  # fmt: skip

    later = [{**row, "visits": str(i)} for i, row in enumerate(churn.rows())]
    for row in later:
        del row["household"]  # which training was told to leave out
    for name, values in scored(later).items():
        np.testing.assert_array_equal(values, dataset.table.test[name])
    for row in later:
        del row["country"]  # one value: neither the model nor the hash takes it
    assert len(scored(later)["city"]) == len(dataset.test)
    for row in later:
        del row["city"]
    with refused(DataError, "'city'"):
        scored(later)


def test_a_label_that_training_never_saw_is_left_out_and_holds_back(table, tmp_path):
    rows = churn.rows(50, seed=5)
    rows[3]["churned"] = "perhaps"
    dataset = load(table, churn.write_csv(tmp_path / "test.csv", rows))
    assert len(dataset.test) == 49
    [lost] = holding(dataset.findings, ())
    assert (lost.code, lost.column, lost.count) == ("lost-class", "perhaps", 1)
    assert not holding(dataset.findings, ("lost-class",))
    with refused(DataError, "'maybe'", "no, yes"):
        load(table, churn.write_csv(tmp_path / "t.csv", [r | {"churned": "maybe"} for r in rows]))


def test_shards_whose_schemas_differ_are_refused(tmp_path):
    rows = churn.rows(100)
    churn.write_parquet(tmp_path / "a.parquet", rows)
    short = [{k: v for k, v in row.items() if k != "city"} for row in rows]
    churn.write_parquet(tmp_path / "b.parquet", short)
    with refused(DataError, "b.parquet", "'city'"):
        load(tmp_path)
    churn.write_parquet(
        tmp_path / "b.parquet", [row | {"monthly fee": "1", "complaints": "2"} for row in rows]
    )
    other = pyarrow.parquet.read_table(tmp_path / "b.parquet")
    at = other.column_names.index("complaints")
    other = other.set_column(at, "complaints", other["complaints"].cast(pa.string()))
    pyarrow.parquet.write_table(other, tmp_path / "b.parquet")
    with refused(DataError, "'complaints'", "int64", "string"):
        load(tmp_path)


def partitioned(root, rows, write):
    """Six files in folders such as plan=gold/level=0; the same rows with two columns more."""
    plans = {f"plan={reader.NO_VALUE}": "", "plan=caf%C3%A9%2F1": "café/1", "plan=gold": "gold"}
    whole = []
    for i, (folder, plan) in enumerate(plans.items()):
        for level in "01":
            part = rows[(2 * i + int(level)) * 40 :][:40]
            (root / folder / f"level={level}").mkdir(parents=True)
            write(root / folder / f"level={level}" / f"part.{write.__name__[6:]}", part)
            whole += [row | {"plan": plan, "level": level} for row in part]
    return whole


@pytest.mark.parametrize("write", [churn.write_csv, churn.write_parquet])
def test_folders_named_as_hive_does_are_columns(tmp_path, write):
    root = tmp_path / "in"
    whole = partitioned(root, churn.rows(240), write)
    dataset = load(root)
    assert dataset.digest == load(churn.write_csv(tmp_path / "all.csv", whole)).digest
    assert dataset.digest == load(f"{root}/*/*/*").digest
    columns = {column.name: column for column in dataset.table.schema.columns}
    assert columns["plan"].categories == ("café/1", "gold")
    assert columns["plan"].has_missing
    assert columns["level"].categories == (0, 1)
    schema = dataset.table.schema
    raw = [block for block, *_ in data.table_rows(str(root), schema, tmp_path)]
    assert sum(block["plan"].tolist().count("gold") for block in raw) == 80
    first = next(root.rglob("part.*"))
    with refused(DataError, "'plan'", "without"):
        list(data.table_rows(str(first), schema, tmp_path))
    first.rename(root / first.name)
    with refused(DataError, "'level'", "'plan'"):
        load(root)


def test_a_date_in_the_name_of_a_folder_is_a_date(tmp_path):
    rows = churn.rows(200)
    for i in range(2):
        folder = tmp_path / f"date=2026-01-0{i + 1}"
        folder.mkdir()
        churn.write_csv(folder / "part.csv", rows[i * 100 :][:100])
    column = load(tmp_path).table.schema.columns[-1]
    assert (column.name, column.kind, column.features) == ("date", "datetime", ("days", "week"))
    assert "date" in load(tmp_path, exclude=("household", "date")).table.schema.ignored
    assert "date" not in load(folder).table.schema.ignored


def test_torn_parquet_and_odd_types_are_refused(tmp_path):
    path = churn.write_parquet(tmp_path / "t.parquet", churn.rows(200))
    body = path.read_bytes()
    for size in (0, 3, len(body) // 2, len(body) - 1):
        path.write_bytes(body[:size])
        with refused(DataError, "t.parquet"):
            load(path)
    pyarrow.parquet.write_table(churn.typed(churn.rows(200)), path, row_group_size=50)
    body = bytearray(path.read_bytes())
    groups = pyarrow.parquet.read_metadata(path)
    for group, column in ((0, "churned"), (2, "city")):
        at = groups.schema.names.index(column)
        begin = groups.row_group(group).column(at).dictionary_page_offset
        path.write_bytes(body[:begin] + b"\xff" * 9 + body[begin + 9 :])
        with refused(DataError, "t.parquet", f"row group {group}", repr(column)):
            load(path)
    nested = churn.typed(churn.rows(200)).append_column("when", pa.array([[1]] * 200))
    pyarrow.parquet.write_table(nested, path)
    assert any("'when'" in told and "list" in told for told in load(path).warnings)


def test_nothing_there_and_paths_that_climb(tmp_path):
    for uri in (tmp_path / "none.csv", f"{tmp_path}/*.csv", tmp_path, ","):
        with pytest.raises(DataNotFound):
            load(uri)
    outside = churn.write_csv(tmp_path / "out.csv", churn.rows(50))
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.csv").symlink_to(outside)
    with refused(DataError, "a.csv", "leads out"):
        load(inside)


@pytest.mark.slow
def test_s3_globs_are_cached_by_content_and_checked(s3, s3_uri, tmp_path):
    rows, cache = churn.rows(), tmp_path / "cache"
    prefix = s3_uri.removeprefix(f"s3://{s3.bucket}/")

    def put(name, part):
        path = churn.write_parquet(tmp_path / "shard.parquet", part)
        s3.client().put_object(Bucket=s3.bucket, Key=f"{prefix}/{name}", Body=path.read_bytes())

    for i in range(4):
        put(f"day={i}.parquet", rows[i * 200 : (i + 1) * 200])
    put("other.txt", rows[:1])
    local = churn.write_csv(tmp_path / "all.csv", rows)
    digest = load(local).digest
    assert load(f"{s3_uri}/day=*.parquet", scratch=cache).digest == digest
    kept = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert len(kept) == 4
    assert load(f"{s3_uri}/day=?.parquet", scratch=cache).digest == digest
    put("day=3.parquet", rows[:200])
    assert load(f"{s3_uri}/", scratch=cache).digest != digest
    after = {path.name: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert len(after) == 5
    assert kept.items() <= after.items()
    for missing in ("night=*.parquet", "night.parquet"):
        with pytest.raises(DataNotFound):
            load(f"{s3_uri}/{missing}", scratch=cache)
    for _ in range(2):
        load(f"{s3_uri}/day=0.parquet", scratch=cache)
        assert len([path for path in cache.rglob("*") if path.is_file()]) == 5
    expected = load(f"{s3_uri}/", scratch=tmp_path / "fresh").digest
    for path in list(cache.rglob("*.*")):  # what was damaged since is read again
        path.write_bytes(path.read_bytes().replace(b"Osaka", b"Ohara"))
    assert load(f"{s3_uri}/", scratch=cache).digest == expected


def test_an_object_replaced_while_it_is_read_is_no_data(s3, s3_uri, tmp_path):
    key = s3_uri.removeprefix(f"s3://{s3.bucket}/") + "/a.csv"
    s3.client().put_object(Bucket=s3.bucket, Key=key, Body=b"a,b\n1,2\n")
    listed = list(open_store(s3_uri).list(""))
    for body in (b"a,b\n3,4\n", b"a,b\n3,4\n5,6\n"):
        s3.client().put_object(Bucket=s3.bucket, Key=key, Body=body)
        with refused(StoreError, "a.csv", "ETag"):
            staging.fetch(open_store(s3_uri), listed, tmp_path)
        assert not [path for path in (tmp_path / "objects").iterdir() if path.name[0] != "."]


values = st.one_of(
    st.text(max_size=8), st.sampled_from(["1", "2.5", "", "true", "inf", "é", "\0", "1e400", '"'])
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.lists(st.lists(values, min_size=2, max_size=3), max_size=30).map(
            lambda rows: ("a,b,label\n" + "\n".join(",".join(row) for row in rows)).encode(
                errors="surrogatepass"
            )
        ),
    )
)
def test_no_csv_ends_in_a_traceback(body, tmp_path):
    path = tmp_path / "fuzz.csv"
    path.write_bytes(body)
    try:
        dataset = load(path, label="label", exclude=())
    except JobError as error:
        assert "Received: " in error.message  # noqa: PT017 - most inputs end so
    else:
        assert not any(np.isinf(array).any() for array in dataset.train.x.values())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.booleans())
@example(at=0.640625, value=128, cut=False)  # a name that is not UTF-8
def test_no_damaged_parquet_ends_in_a_traceback(at, value, cut, tmp_path):
    path = churn.write_parquet(tmp_path / "fuzz.parquet", churn.rows(120))
    body = bytearray(path.read_bytes())
    place = int(at * len(body))
    body[place] = value
    path.write_bytes(body[:place] if cut else body)
    try:
        load(path)
    except JobError as error:
        assert "Received: " in error.message  # noqa: PT017


def test_missing_and_unknown_values_reach_the_model_as_promised(table, tmp_path):
    schema = load(table).table.schema
    new = [
        {"monthly fee": "", "tenure/months": "3", "complaints": "", "paperless": "", "city": ""},
        {"monthly fee": "1", "tenure/months": "4", "complaints": "9", "paperless": "true",
         "city": "Lima"},
    ]  # fmt: skip
    path = churn.write_csv(tmp_path / "new.csv", new)
    [(columns, _, said)] = list(data.table_rows(str(path), schema, tmp_path))
    assert np.isnan(columns["monthly fee"][0])
    assert columns["complaints"].tolist() == [MISSING_INTEGER, 9]
    assert columns["paperless"].tolist() == [MISSING_INTEGER, 1]
    assert columns["city"].tolist() == ["", "Lima"]
    assert any("'city': 50.0%" in sentence(each) for each in said)
    with refused(DataError, "'tenure/months'"):
        list(data.table_rows(str(churn.write_csv(path, [{"city": "x"}])), schema, tmp_path))
    new[1]["tenure/months"] = "long"
    new[1]["complaints"] = "many"
    [(columns, _, said)] = list(data.table_rows(str(churn.write_csv(path, new)), schema, tmp_path))
    assert np.isnan(columns["tenure/months"][1])
    assert columns["complaints"][1] == MISSING_INTEGER
    bad = {each.column: each for each in said if each.code == "bad-values"}
    assert bad["tenure/months"].values == ("long",)
    assert bad["complaints"].count == 1


def test_json_lines_give_the_same_rows_to_predict(table, tmp_path):
    schema = load(table).table.schema
    rows = churn.rows(30, seed=8)
    typed = churn.typed(rows).to_pylist()
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in typed) + "\n\n")
    [(said, *_)] = list(data.table_rows(str(path), schema, tmp_path))
    csv_path = churn.write_csv(tmp_path / "rows.csv", rows)
    [(expected, *_)] = list(data.table_rows(str(csv_path), schema, tmp_path))
    for name, values in expected.items():
        np.testing.assert_array_equal(said[name], values)
    for line in ("[1]", "{", '{"a": [1]}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[" * 9999):
        path.write_text(json.dumps(typed[0]) + "\n" + line)
        with refused(DataError, "line 2"):
            list(data.table_rows(str(path), schema, tmp_path))
    path.write_text("".join(json.dumps(row) + "\n" for row in [*typed[:9], {"town": "Köln"}]))
    [(said, _, told)] = list(data.table_rows(str(path), schema, tmp_path))
    assert len(said["city"]) == 10
    assert any("'town'" in sentence(each) for each in told)


def test_an_empty_line_is_a_missing_value_where_there_is_one_column(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("n,label\n" + "".join(f"{i % 7}.5,{i % 2}\n" for i in range(60)) + "\n")
    schema = load(path, label="label", exclude=()).table.schema
    path.write_text("n\n1\n\n3\n")
    [(columns, *_)] = list(data.table_rows(str(path), schema, tmp_path))
    np.testing.assert_array_equal(columns["n"], np.float32([1, np.nan, 3]))


def test_a_shard_without_rows_is_no_fault(table, tmp_path):
    lines = table.read_bytes().splitlines(keepends=True)
    for name, part in (("a", lines), ("b", lines[:1]), ("c", [lines[0].strip()])):
        (tmp_path / f"{name}.csv").write_bytes(b"".join(part))
    assert load(tmp_path).digest == load(table).digest


def test_decimals_are_the_numbers_that_their_text_is(tmp_path):
    values = [f"{i * 7919 % 100_003 / 100:.2f}" for i in range(2000)]
    rows = [{"price": v, "churned": "ab"[i % 2]} for i, v in enumerate(values)]
    text = load(churn.write_csv(tmp_path / "a.csv", rows), exclude=())
    decimals = pa.array(values).cast(pa.decimal128(12, 2))
    labels = [row["churned"] for row in rows]
    pyarrow.parquet.write_table(
        pa.table({"price": decimals, "churned": labels}), tmp_path / "a.parquet"
    )
    assert load(tmp_path / "a.parquet", exclude=()).digest == text.digest


def test_the_delimiter_is_what_stands_outside_of_quotes(tmp_path):
    path = tmp_path / "quoted.csv"
    rows = "".join(f"{i}.5;{i % 2}\n" for i in range(60))
    path.write_text(f'"size, in cm, and more";label\n{rows}')
    schema = load(path, label="label", exclude=()).table.schema
    assert [column.name for column in schema.columns] == ["size, in cm, and more"]


def test_unseen_categories_of_the_test_rows_are_told(table, tmp_path):
    rows = churn.rows(200, seed=3)
    for row in rows[:50]:
        row["city"] = "Lima"
    dataset = load(table, test=churn.write_csv(tmp_path / "test.csv", rows))
    assert any("'city': 25.0%" in told for told in dataset.warnings)


def test_a_nul_byte_in_parquet_is_refused(tmp_path):
    rows = churn.rows(100)
    rows[5]["city"] = "a\0b"
    with refused(DataError, "row 5", "'city'", "NUL"):
        load(churn.write_parquet(tmp_path / "nul.parquet", rows))


def test_mnist_is_read_without_the_libraries_of_others():
    code = (
        "import sys, pathlib\nfrom job import data\n"
        "data.load('mnist', test_uri=None, validation_split=0.2, scratch=pathlib.Path('/x'))\n"
        "print([name for name in ('pyarrow', 'PIL', 'boto3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_schema_travels_as_json(table):
    import msgspec

    from job.data.schema import Schema

    schema = load(table).table.schema
    assert msgspec.json.decode(msgspec.json.encode(schema), type=Schema) == schema
    assert dataclasses.replace(schema, rows=1) != schema


ODD = {
    "README.md": b"hello",
    "rows.jsonl": b'{"z": 1}\n',
    "bad.npz": b"x",
    "folder/a.txt": b"x",
    "dir.csv/a.txt": b"x",
    "empty.csv": b"",
    "pictures/cat/1.png": b"x",
    "pictures/cat/2.png": b"x",
    "both/cat/1.png": b"x",
    "both/labels.csv": b"file,label\n",
}


def odd_things(root):
    """Paths that are no table, some of them no data at all."""
    for name, body in ODD.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(body)
    (root / "nothing").mkdir()
    for name in ("pipe", "pipe.csv", "pipe.npz", "pipe.png"):
        os.mkfifo(root / name)
    for name in ("broken", "broken.csv", "loop.csv"):
        (root / name).symlink_to(name.replace("broken", "nowhere"))
    write_idx(root / "idx", arrays())
    write_npz(root / "arrays.npz", **arrays())
    inside = [path for path in root.iterdir() if path.name != "t.csv"]
    return [*inside, f"{root}/t.csv,{root}/README.md", f"{root}/*.md", "/dev/null", "mnist", ","]


def test_no_odd_test_data_ends_in_a_traceback(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("x,y\n" + "".join(f"{i / 7},{'pq'[i % 2]}\n" for i in range(100)))
    reading = DataOptions(label="y")
    known = data.load(
        str(table), test_uri=None, validation_split=0.2, scratch=tmp_path, reading=reading
    )
    for odd in odd_things(tmp_path):
        for attempt in (
            partial(load, table, odd, label="y", exclude=()),
            partial(load, odd, label="y", exclude=()),
            partial(
                data.load_test_table, str(table), test_uri=str(odd), classes=known.classes,
                schema=known.table.schema, reading=reading, scratch=tmp_path,
            ),
            lambda odd=odd: list(data.table_rows(str(odd), known.table.schema, tmp_path)),
        ):  # fmt: skip
            with contextlib.suppress(DataError, DataNotFound, UsageError):
                attempt()
        with pytest.raises((DataError, DataNotFound)) as caught:
            load(table, odd, label="y", exclude=())
        assert "Received: " in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("kind", ["arrays.npz", "idx", "mnist"])
def test_test_data_of_another_kind_than_arrays_is_refused(kind, tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n1,p\n")
    odds = [odd for odd in odd_things(tmp_path) if odd not in (tmp_path / "idx", "mnist")]
    data_uri = kind if kind == "mnist" else tmp_path / kind
    with refused(DataError, "Received: a table"):
        load(data_uri, tmp_path / "t.csv", label=None, exclude=())
    for odd in odds:
        if str(odd).endswith(("/arrays.npz",)):
            continue
        with pytest.raises((DataError, DataNotFound, UsageError)) as caught:
            load(data_uri, odd, label=None, exclude=())
        assert "Received: " in caught.value.message


def test_a_label_decides_between_a_table_and_the_images_beside_it(tmp_path):
    for label, shade in (("cat", 50), ("dog", 200)):
        (tmp_path / "both" / label).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (4, 4), shade + i).save(tmp_path / "both" / label / f"{i}.png")
    lines = (f"{i / 7},{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "both" / "labels.csv").write_text("x,y\n" + "".join(lines))
    assert load(tmp_path / "both", label=None, exclude=()).classes == ("cat", "dog")
    assert load(tmp_path / "both", label="y", exclude=()).classes == ("p", "q")


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (("train/a.csv", "train/b.csv", "test/a.csv"), "{}/train", "{}/test"),
        (("train.csv", "test.csv"), "{}/train.csv", "{}/test.csv"),
        (("sub/Train.csv", "sub/val.csv"), "{}/sub/Train.csv", "{}/sub/val.csv"),
        (("train.csv", "val.csv", "test.csv"), "{0}/train.csv,{0}/val.csv", "{}/test.csv"),
        (("split=train/a.csv", "split=test/a.csv"), "{}/split=train", "{}/split=test"),
    ],
)
def test_training_and_test_rows_are_not_made_one_table(names, train, test, tmp_path):
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{(i * 60 + j) / 7},{'pq'[j % 2]}\n" for j in range(60))
        (tmp_path / name).write_text("x,y\n" + "".join(lines))
    for uri in (tmp_path, f"{tmp_path}/*") if "/" not in names[0] else (tmp_path,):
        with pytest.raises(DataError, match="the rows of one part") as caught:
            load(uri, label="y", exclude=())
        _, data_uri, *_, test_uri = shlex.split(caught.value.hint.partition(" in --test-data")[0])
        assert (data_uri, test_uri) == (train.format(tmp_path), test.format(tmp_path))
        dataset = load(data_uri, test_uri, label="y", exclude=())
        assert len(dataset.test) == 60 * sum("test" in name for name in names) or len(names) == 2
    assert load(f"{data_uri},{test_uri}", label="y", exclude=()).held_out_of == 60 * len(names)


def test_training_and_test_rows_in_many_places_are_to_be_moved(tmp_path):
    for name in (f"{land}/{part}.csv" for land in "abcd" for part in ("train", "test")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x,y\n1,p\n")
    with pytest.raises(DataError, match="the rows of one part") as caught:
        load(tmp_path, label="y", exclude=())
    assert caught.value.hint.startswith("Put them into two folders")


def rows_of(path, columns, rows):
    """A CSV file."""
    lines = (",".join(map(str, row)) for row in ((columns.split(",")), *rows))
    path.write_text("\n".join(lines) + "\n")
    return path


def side_of(dataset, column):
    return set(dataset.table.test[column].tolist())


@pytest.mark.parametrize(
    "day", [lambda i: f"2026-01-{i % 28 + 1:02d}", lambda i: "A12" if i == 7 else 1000 + i % 40]
)
def test_any_text_may_be_a_group(day, tmp_path):
    rows = [(i / 7, day(i), "pq"[i % 2]) for i in range(300)]
    dataset = load(rows_of(tmp_path / "t.csv", "x,g,y", rows), label="y", group="g", exclude=())
    out = {str(day(round(float(x) * 7))) for x in side_of(dataset, "x")}
    inside = {str(g) for x, g, _ in rows if np.float32(x) not in side_of(dataset, "x")}
    assert out
    assert not out & inside
    table = pa.table({"x": [r[0] for r in rows], "y": [r[2] for r in rows]})
    days = pa.array([dt.date(2026, 1, i % 28 + 1) for i in range(300)])
    pyarrow.parquet.write_table(table.append_column("g", days), tmp_path / "t.parquet")
    same = load(tmp_path / "t.parquet", label="y", group="g", exclude=())
    assert (side_of(same, "x") == side_of(dataset, "x")) == (day(7) == "2026-01-08")
    times = [dt.datetime(2026, 1, i % 28 + 1, 10, 30) for i in range(300)]
    pyarrow.parquet.write_table(table.append_column("g", pa.array(times)), tmp_path / "s.parquet")
    written = [(r[0], str(t), r[2]) for r, t in zip(rows, times, strict=True)]
    sides = [
        side_of(load(path, label="y", group="g", exclude=()), "x")
        for path in (tmp_path / "s.parquet", rows_of(tmp_path / "s.csv", "x,g,y", written))
    ]
    assert sides[0] == sides[1]
    lists = pa.array([[i] for i in range(300)])
    pyarrow.parquet.write_table(table.append_column("g", lists), tmp_path / "l.parquet")
    with refused(DataError, "'g'", "for --group", "list<"):
        load(tmp_path / "l.parquet", label="y", group="g", exclude=())


def test_rows_without_a_group_are_split_by_themselves(tmp_path):
    rows = [(i / 7, i % 5, f"g{i % 40}" if i < 300 else "", "pq"[i % 2]) for i in range(600)]
    path = rows_of(tmp_path / "t.csv", "x,only one,g,y", rows)
    dataset = load(path, label="y", group="g", exclude=())
    alone = {x for x in side_of(dataset, "x") if round(float(x) * 7) >= 300}
    assert 30 < len(alone) < 90
    assert any("300 of 600 rows have no value in --group 'g'" in w for w in dataset.warnings)
    wider = rows_of(
        tmp_path / "w.csv", "x,only one,g,y,new", [(*row, i) for i, row in enumerate(rows)]
    )
    scored, y, _ = data.load_test_table(
        str(wider), test_uri=None, classes=dataset.classes, schema=dataset.table.schema,
        reading=DataOptions(label="y", group="g"), scratch=tmp_path,
    )  # fmt: skip
    assert set(scored.test["x"].tolist()) == side_of(dataset, "x")
    assert len(y) == len(dataset.test)
    known = load(
        rows_of(tmp_path / "g.csv", "x,only one,g,y", rows[:300]), label="y", group="g", exclude=()
    )
    assert side_of(known, "x") == side_of(dataset, "x") - alone
    constant = rows_of(tmp_path / "c.csv", "x,g,y", [(i / 7, "g1", "pq"[i % 2]) for i in range(60)])
    with pytest.raises(DataError, match="Received: 60 and 0") as caught:
        load(constant, label="y", group="g", exclude=())
    assert "--group of more values" in caught.value.hint


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["2026-01-02", "2026-01-03"], ("2026-01-02", "2026-01-03")),
        (["1", "2", "2+"], ("1", "2", "2+")),
        (["10", "9.0"], (9, 10)),
        (["1,5", "2,5"], ("1,5", "2,5")),
        (["0.5", "1.5"], ("0.5", "1.5")),
        (["None", "NA", "N/A", "null"], ("N/A", "NA", "None", "null")),
        (["True", "false"], ("false", "true")),
        (["yes", " no "], ("no", "yes")),
    ],
)
def test_a_label_is_a_class_whatever_it_looks_like(labels, classes, tmp_path):
    rows = [(i / 7, f'"{labels[i % len(labels)]}"') for i in range(100)]
    path = rows_of(tmp_path / "t.csv", "x,y", rows)
    dataset = load(path, label="y", exclude=())
    assert dataset.classes == classes
    _, y, _ = data.load_test_table(
        str(path), test_uri=str(path), classes=classes, schema=dataset.table.schema,
        reading=DataOptions(label="y"), scratch=tmp_path,
    )  # fmt: skip
    assert np.bincount(y).tolist() == [100 // len(labels) + (i < 100 % len(labels)) for i in
                                       range(len(labels))]  # fmt: skip


def test_a_single_class_is_told_before_the_split(tmp_path):
    rows = [(1, "u", "p"), (2, "v", "p")] * 20
    with pytest.raises(DataError, match=r"two classes.*only 'p', in all 40 rows") as caught:
        load(rows_of(tmp_path / "t.csv", "x,c,y", rows), label="y", exclude=())
    assert "Check --label" in caught.value.hint


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], b"x"])
def test_a_column_of_another_type_is_left_out(value, tmp_path):
    path = tmp_path / "t.parquet"
    columns = {"x": np.arange(100) / 7, "odd": [value] * 100, "y": ["p", "q"] * 50}
    pyarrow.parquet.write_table(pa.table(columns), path)
    dataset = load(path, label="y", exclude=())
    assert [column.name for column in dataset.table.schema.columns] == ["x"]
    assert [found.code for found in dataset.findings] == ["unusable-type"]
    config = Config.of(data=str(path), label="y", name="t")
    seen = inspection.inspect(config, None, tmp_path)
    assert seen.error is None
    assert seen.problems == dataset.warnings


def test_a_quantity_is_told_before_the_split(tmp_path):
    rows = [("uv"[i % 2], i / 7) for i in range(50)]
    with refused(DataError, "column 'y'", "50 different", "regression"):
        load(rows_of(tmp_path / "t.csv", "c,y", rows), label="y", exclude=())
    ages = [("uv"[i % 2], i % 150) for i in range(600)]
    with refused(DataError, "column 'y'", "regression"):
        load(rows_of(tmp_path / "a.csv", "c,y", ages), label="y", exclude=())


def test_a_group_without_values_and_nothing_besides_is_refused(tmp_path):
    path = rows_of(tmp_path / "t.csv", "g,y", [("", "pq"[i % 2]) for i in range(50)])
    with refused(DataError, "0 and 50"):
        load(path, label="y", group="g", exclude=())

"""Faults that exports have: read with a warning that counts, the same in memory, streamed, anew."""

import datetime as dt
import itertools
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from data_files import refused

from job import data
from job.config.data import DataOptions
from job.data.findings import Finding, sentence
from job.errors import DataError

HEADER = "amount,city,bought"


def body(count=300, seed=0):
    rng = random.Random(seed)
    return [
        f"{rng.gauss(0, 1):.3f},{rng.choice(['Lyon', 'Nice'])},{rng.choice(['yes', 'no'])}"
        for _ in range(count)
    ]


def load(path, **options):
    return data.load(
        str(path), test_uri=None, validation_split=0.2, scratch="/nowhere",
        reading=DataOptions(**{"label": "bought"} | options),
    )  # fmt: skip


def text(tmp_path, lines, name="t.csv", end="\n"):
    path = tmp_path / name
    path.write_bytes((end.join(lines) + end).encode())
    return path


def column(tmp_path, values, name="value", **options):
    """The data set of a table whose first column is the values in turn."""
    lines = [f"{v};{line.split(',')[2]}" for v, line in zip(itertools.cycle(values), body())]
    return load(text(tmp_path, [f"{name};bought", *lines]), **options)


def predicted(tmp_path, dataset, lines, name="new.csv"):
    """The columns that `predict` gives a model, and its findings."""
    path = text(tmp_path, lines, name)
    found = list(data.table_rows(str(path), dataset.table.schema, tmp_path))
    columns = {key: np.concatenate([raw[key] for raw, *_ in found]) for key in found[0][0]}
    return columns, [finding for *_, findings in found for finding in findings]


def told(findings):
    return {found.code: found.count for found in findings}


@pytest.fixture
def plain(tmp_path):
    return load(text(tmp_path, [HEADER, *body()], "plain.csv"))


def test_a_header_that_recurs_is_no_row(tmp_path, plain):
    rows = body()
    lines = [HEADER, *rows[:100], HEADER, *rows[100:], f" {HEADER} "]
    path = text(tmp_path, lines)
    for feed in ("memory", "stream"):
        dataset = load(path, feed=feed)
        assert dataset.digest == plain.digest
        assert told(dataset.findings) == {"repeated-header": 2}
    columns, findings = predicted(tmp_path, dataset, lines)
    assert len(columns["amount"]) == 300
    assert told(findings) == {"repeated-header": 2}


ODD = {
    "a field too many": ("1.5,Lyon,Nord,yes", 1, "odd-rows", "bad-rows"),
    "a field too few": ("1.5,yes", 1, "odd-rows", "bad-rows"),
    "a wide total": ("Total,,,,99", 0, "short-rows", "short-rows"),
    "a footer": ("Source: the shop, all branches, all years, unchecked", 0, *["short-rows"] * 2),
}


@pytest.mark.parametrize("what", ODD)
def test_a_few_rows_with_other_fields_are_left_out_or_predicted_in_place(tmp_path, plain, what):
    line, after, code, anew = ODD[what]
    rows = body()
    at = 120 if after else len(rows)
    lines = [HEADER, *rows[:at], line, *rows[at:]]
    for feed in ("memory", "stream"):
        dataset = load(text(tmp_path, lines), feed=feed)
        assert dataset.digest == plain.digest
        assert told(dataset.findings) == {code: 1}
    columns, findings = predicted(tmp_path, dataset, lines)
    expected = [float(row.partition(",")[0]) for row in rows]
    if after:
        expected.insert(at, np.nan)
    np.testing.assert_allclose(columns["amount"], expected, rtol=1e-6)
    assert told(findings)[anew] == 1
    for row, received in ((13, "1.5,Lyon,Nord,yes"), (13, "1.5,yes")):
        many = [HEADER, *rows[:13], *[received] * 7, *rows[13:]]
        with refused(DataError, f"row {row}", "expected 3 fields"):
            load(text(tmp_path, many))


def test_odd_rows_stay_in_their_places_across_blocks(tmp_path, plain):
    rows = [row.replace("Lyon", "L" * 20_000) for row in body(2000)]  # 20 MB, in blocks of 8 MiB
    at = [3, 700, 701, 1999]
    lines = [HEADER, *rows]
    for place in reversed(at):
        lines.insert(place + 1, "1,2,3,4")
    columns, findings = predicted(tmp_path, plain, lines)
    assert np.flatnonzero(np.isnan(columns["amount"])).tolist() == [3, 701, 703, 2002]
    assert told(findings)["bad-rows"] == 4


def test_nul_bytes_at_the_end_of_lines_are_left_out(tmp_path, plain):
    path = text(tmp_path, [HEADER, *body()], end="\0\0\n")
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    for feed in ("memory", "stream"):
        dataset = load(path, feed=feed)
        assert dataset.digest == plain.digest
        assert told(dataset.findings) == {"nul-bytes": 301}
    with refused(DataError, "NUL"):
        load(text(tmp_path, [HEADER, *body(), "1,Ly\0on,yes"]))


@pytest.mark.parametrize("header", ["'amount','city','bought'", HEADER])
def test_single_quotes_enclose_values(tmp_path, header):
    rows = [line.replace("Lyon", "'Lyon, Rhône'").replace("Nice", "'L''Isle'") for line in body()]
    dataset = load(text(tmp_path, [header, *rows]))
    assert dataset.table.schema.lookups[0].categories == ("L'Isle", "Lyon, Rhône")
    assert not dataset.findings
    columns, _ = predicted(tmp_path, dataset, [header, *rows])
    assert set(columns["city"]) == {"L'Isle", "Lyon, Rhône"}


def test_an_apostrophe_is_no_quote(tmp_path):
    rows = [line.replace("Lyon", "'s-Hertogenbosch").replace("Nice", "d'Oc") for line in body()]
    dataset = load(text(tmp_path, [HEADER, *rows]))
    assert dataset.table.schema.lookups[0].categories == ("'s-Hertogenbosch", "d'Oc")


def test_a_backslash_before_a_quote_belongs_to_the_value(tmp_path):
    rows = [line.replace("Nice", '"the \\"bay\\", Nice"') for line in body()]
    dataset = load(text(tmp_path, [HEADER, *rows]))
    assert dataset.table.schema.lookups[0].categories == ("Lyon", 'the "bay", Nice')
    columns, _ = predicted(tmp_path, dataset, [HEADER, *rows])
    assert set(columns["city"]) == {"Lyon", 'the "bay", Nice'}


TWO_HEADERS = [",X1,X2,Y", "ID,AMOUNT,AGE,next month"]


@pytest.mark.parametrize(
    ("label", "names", "code"),
    [("Y", {"X1", "X2"}, "second-header"), ("next month", {"AMOUNT", "AGE"}, "title-lines")],
)
def test_of_two_headers_the_one_with_the_label_counts(tmp_path, label, names, code):
    rows = [f"{i + 1},{i * 7919 % 1000},{20 + i % 50},{i // 3 % 2}" for i in range(300)]
    dataset = load(text(tmp_path, [*TWO_HEADERS, *rows]), label=label)
    assert {c.name: c.kind for c in dataset.table.schema.columns} == dict.fromkeys(names, "number")
    assert dataset.classes == (0, 1)
    assert told(dataset.findings)[code] == 1
    columns, _ = predicted(tmp_path, dataset, [*TWO_HEADERS, *rows])
    assert {len(values) for values in columns.values()} == {300}


def test_a_first_row_without_values_is_a_row(tmp_path):
    rows = [f"{i * 7 % 30},{i * 13 % 20},{'yes' if i % 2 else 'no'}" for i in range(99)]
    dataset = load(text(tmp_path, ["before,after,bought", "NA,NA,no", *rows]))
    assert len(dataset.train) + len(dataset.test) == 100


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (("123456789012345678901234", "99"), ("123456789012345678901234", "99"), {}),
        (("001", "002"), ("001", "002"), {}),
        (("001", "1"), ("001", "1"), {"similar-labels": 2}),
        (("Cafe\u0301", "Café", "Thé"), ("Café", "Thé"), {}),
        (("1", "1.0", "2"), (1, 2), {}),
    ],
)
def test_labels_stay_as_they_are_written(tmp_path, labels, classes, codes):
    rows = [
        f"{line.rpartition(',')[0]},{label}"
        for line, label in zip(body(), itertools.cycle(labels), strict=False)
    ]
    dataset = load(text(tmp_path, [HEADER, *rows]))
    assert dataset.classes == classes
    assert told(dataset.findings) == codes


def test_json_with_the_rows_inside(tmp_path, plain):
    rows = [dict(zip(HEADER.split(","), line.split(","), strict=True)) for line in body()]
    arrays = [[float(row["amount"]), *list(row.values())[1:]] for row in rows]
    for i, document in enumerate(
        [
            {"data": rows},
            {"data": rows, "count": len(rows), "links": {"next": None}},
            {"result": {"records": rows}},
            [HEADER.split(","), *arrays],
            {"data": [HEADER.split(","), *arrays]},
            {str(i): row for i, row in enumerate(rows)},
            {key: [row[key] for row in rows] for key in rows[0]},
        ]
    ):
        path = tmp_path / f"{i}.json"
        path.write_text(json.dumps(document))
        assert load(path).digest == plain.digest, i
    for document in ({"data": arrays}, {"a": rows, "b": rows}, [1, 2]):
        path.write_text(json.dumps(document))
        with refused(DataError, "JSON"):
            load(path)


def test_whole_numbers_that_begin_with_zeros_are_codes(tmp_path):
    zips = [f"{i * 1161:05}" for i in range(12)]
    dataset = column(tmp_path, zips, "zip")
    assert dataset.table.schema.columns[0].categories == tuple(zips)
    [finding] = [f for f in dataset.findings if f.code == "leading-zeros"]
    assert all(word in sentence(finding) for word in ("'01161'", "--number"))
    assert column(tmp_path, zips, "zip", number=("zip",)).table.schema.columns[0].kind == "number"
    numbers = [*range(20, 220), "007"]  # one of many is no code
    assert column(tmp_path, numbers, "size").table.schema.columns[0].kind == "number"


@pytest.mark.parametrize("late", [False, True])
def test_codes_of_a_large_file_are_found_wherever_they_stand(tmp_path, late):
    zips = [f"{i % 200 + 90_000:05}" for i in range(80_000)]
    zips[-1000 if late else 0 :: 2] = [f"{i % 50:05}" for i in range(500 if late else 40_000)]
    lines = [f"{z},{i % 9_973},{i % 97}.5,{'ab'[i % 2]}" for i, z in enumerate(zips)]
    dataset = load(text(tmp_path, ["zip,count,size,bought", *lines]))
    kinds = {c.name: c.dtype for c in dataset.table.schema.columns}
    assert kinds == {"zip": "string", "count": "float32", "size": "float32"}
    assert {f.code for f in dataset.findings} == {"leading-zeros"}


UNITS = {
    "12-": ([f"{i}-" if i % 3 else f"{i}" for i in range(40)], -13.0, ["13-", "-13"]),
    "5K": ([f"{i}.5K" if i % 3 else f"{i}M" for i in range(40)], 13_500.0, ["13.5K", "13500"]),
    "5 km": ([f"{i}.5 km" for i in range(40)], 13.5, ["13.5 km", "13.5km"]),
    "90m2": ([f"{i}m2" for i in range(40)], 13.0, ["13m2"]),
    "35mm": ([f"{i}MM" for i in range(40)], 13.0, ["13MM"]),
    "20 X": ([f"{i}.5X" for i in range(40)], 13.5, ["13.5X"]),
    "36.6 °C": ([f"{i}.6 °C" for i in range(40)], 13.6, ["13.6 °C"]),
}


@pytest.mark.parametrize("what", UNITS)
def test_numbers_with_something_behind_them(tmp_path, what):
    values, number, spelled = UNITS[what]
    dataset = column(tmp_path, values)
    [read] = dataset.table.schema.columns
    assert (read.kind, read.missing) == ("number", 0)
    assert told(dataset.findings)["units"] > 190
    columns, findings = predicted(tmp_path, dataset, ["value", *spelled])
    np.testing.assert_allclose(columns["value"], [number] * len(spelled), rtol=1e-6)
    assert not findings
    columns, findings = predicted(tmp_path, dataset, ["value", *spelled, "7 miles", "Q"])
    assert np.isnan(columns["value"][-2:]).all()
    assert told(findings)["bad-values"] == 2
    assert column(tmp_path, values, category=("value",)).table.schema.columns[0].kind == "category"


@pytest.mark.parametrize(
    "values",
    [
        [f"{i}.5 {unit}" for i in range(8) for unit in ("km", "mi")],  # which one?
        ["36 months", "60 months"],  # few values are categories
        [f"{i}th" if i % 10 > 3 else f"{i}st" for i in range(40)],
        [f"{10234 + i}X" for i in range(40)],  # codes
        [f"{i}AB" for i in range(40)],
        [f"{i}xx" for i in range(940, 980)],  # masked
    ],
)
def test_what_has_no_one_unit_is_a_category(tmp_path, values):
    assert column(tmp_path, values).table.schema.columns[0].kind == "category"


def test_a_price_of_three_decimals_is_warned_of(tmp_path):
    dataset = column(tmp_path, [f"€1.{i:03}" for i in range(200)])
    assert told(dataset.findings) == {"ambiguous-numbers": 0}


NOW = dt.datetime(2023, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", ["createdAt", "event_ms_time", "created_utc", "Timestamp"])
@pytest.mark.parametrize("scale", [1, 1000])
def test_counted_seconds_are_times(tmp_path, name, scale):
    seconds = [int(NOW.timestamp()) + 7919 * i for i in range(300)]
    labels = [line.split(",")[2] for line in body()]
    for i, values in enumerate(
        (
            pa.array([s * scale for s in seconds]),
            pa.array([None if k % 9 == 0 else float(s * scale) for k, s in enumerate(seconds)]),
        )
    ):
        path = tmp_path / f"{i}.parquet"
        pyarrow.parquet.write_table(pa.table({name: values, "bought": labels}), path)
        [read] = (dataset := load(path)).table.schema.columns
        assert (read.kind, bool(read.parsing.dates)) == ("datetime", True)
        new = pa.table({name: pa.array([seconds[0] * scale, 0], values.type)})
        pyarrow.parquet.write_table(new, tmp_path / "new.parquet")
        [(raw, *_)] = data.table_rows(str(tmp_path / "new.parquet"), dataset.table.schema, tmp_path)
        assert raw[name].tolist() == [seconds[0], 0]  # whatever stands beside a value


def parquet(tmp_path, values):
    labels = [line.split(",")[2] for line in body(len(values))]
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pa.table({"when": values, "bought": labels}), path)
    return path


def test_dates_of_no_year_that_is_read_are_missing(tmp_path):
    days = [NOW.date() + dt.timedelta(days=i) for i in range(200)]
    days[::10] = [dt.date(9999, 12, 31)] * 20
    times = [dt.datetime.combine(day, dt.time(1)) for day in days]
    for values in (pa.array(days), pa.array(times, pa.timestamp("us"))):
        dataset = load(path := parquet(tmp_path, values))
        [read] = dataset.table.schema.columns
        assert read.has_missing
        assert read.maximum < 30_000
        assert told(dataset.findings) == {"odd-values": 20}
        [(raw, _, findings)] = data.table_rows(str(path), dataset.table.schema, tmp_path)
        assert (raw["when"] == np.iinfo(np.int64).min).sum() == 20
        assert told(findings) == {"bad-values": 20}
    texts = [str(day).replace("9999", "2999") for day in days]
    dataset = column(tmp_path, texts)
    assert dataset.table.schema.columns[0].kind == "datetime"
    assert told(dataset.findings) == {"missing-signs": 30}


def test_durations_are_quantities(tmp_path):
    values = pa.array([dt.timedelta(seconds=7 * i) for i in range(200)])
    dataset = load(parquet(tmp_path, values))
    assert dataset.table.schema.columns[0].kind == "number"
    assert not dataset.findings


def test_letters_and_accents_are_one_however_they_are_coded(tmp_path):
    decomposed = [line.replace("Nice", "Ne\u0301vache") for line in body()]
    composed = [line.replace("Nice", "N\u00e9vache") for line in body()]
    lines = ["amount,pre\u0301nom,bought", *decomposed[:150], *composed[150:]]
    dataset = load(text(tmp_path, lines), category=("pr\u00e9nom",))
    assert dataset.table.schema.columns[1].categories == ("Lyon", "N\u00e9vache")
    for lines in (["amount,pr\u00e9nom", *composed], ["amount,pre\u0301nom", *decomposed]):
        anew = [line.removesuffix(",yes").removesuffix(",no") for line in lines]
        columns, findings = predicted(tmp_path, dataset, anew)
        assert set(columns["pr\u00e9nom"]) == {"Lyon", "N\u00e9vache"}
        assert not findings


@pytest.mark.parametrize(
    ("code", "one"),
    [
        ("missing-signs", "1 value of 400 counts as missing"),
        ("odd-values", "1 value of 400 cannot be read like the others and counts as missing"),
        ("bad-values", "1 value of 400 cannot be read as in training and counts as missing"),
        ("leading-zeros", "1 value of 400 begins with a zero"),
        ("mixed-column", "1 value of 400 is not numeric"),
        ("unlabelled-rows", "1 row without a label is left out"),
        ("encoding", "1 value is not UTF-8"),
        ("repeated-header", "1 row that repeats the header left out"),
    ],
)
def test_one_is_singular(code, one):
    finding = Finding(code=code, column="c", count=1, of=400, values=("x",))
    assert one in sentence(finding)


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_dictionary_may_hold_more_texts_than_occur_and_a_missing_one(tmp_path, ending):
    texts = pa.array(["never", "b", None, "a", " b"])
    n = 60
    codes = pa.array([(1, 3, 4)[i % 3] for i in range(n - 1)] + [None], pa.int32())
    colours = pa.array([(1, 2, 3)[i // 2 % 3] for i in range(n)], pa.int32())
    table = {
        "y": pa.DictionaryArray.from_arrays(codes, texts),
        "colour": pa.DictionaryArray.from_arrays(colours, texts),
        "x": pa.array([i % 7 + i / 100 for i in range(n)]),
    }
    if ending == "parquet":  # whose texts are all there
        table = {name: c.cast(pa.string()) if name != "x" else c for name, c in table.items()}
        pa.parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    else:
        pa.feather.write_feather(pa.table(table), str(tmp_path / "t.feather"))
    dataset = load(tmp_path / f"t.{ending}", label="y")
    assert dataset.classes == ("a", "b")
    assert len(dataset.train) + len(dataset.test) == n - 1
    columns = {column.name: column for column in dataset.schema.columns}
    assert columns["colour"].categories == ("a", "b")
    assert columns["colour"].has_missing


def test_labels_of_test_rows_are_trimmed_and_those_with_a_point_are_named(tmp_path):
    """As in the two files of the census income data."""
    train = [f"{i % 7}.5, {('<=50K', '>50K')[i % 2]}" for i in range(80)]
    path = text(tmp_path, ["age, income", *train], "adult.csv")

    def tested(lines):
        return data.load(
            str(path),
            test_uri=str(text(tmp_path, ["age, income", *lines], "test.csv")),
            validation_split=0.2,
            scratch=tmp_path,
            reading=DataOptions(label="income"),
        )

    assert len(tested(train[:20]).test) == 20
    with pytest.raises(DataError, match=r"Received: '[<>=]*50K\.'") as caught:
        tested([f"{line}." for line in train[:20]])
    assert "'<=50K.' as '<=50K', '>50K.' as '>50K'" in caught.value.hint


@pytest.mark.parametrize("header", ["v1,v2,,,", "v1,v2,Unnamed: 2,Unnamed: 3,Unnamed: 4"])
def test_text_that_spills_into_columns_without_names_is_learned_from(tmp_path, header):
    """As in the file of spam messages, whose commas some program took for delimiters."""
    rng = random.Random(0)
    lines = []
    for i in range(300):
        label, some = rng.choice([("spam", "win cash prize"), ("ham", "home tea soon")])
        words = " ".join(rng.choices(some.split(), k=4))
        rest = " bye,GE" if i % 100 == 7 else ","
        lines.append(f"{label},{words} {i},{rest},")
    path = text(tmp_path, [header, *lines])
    dataset = load(path, label="v1")
    assert [(c.name, c.kind) for c in dataset.schema.columns] == [("v2", "text")]
    found = {f.column: (f.count, f.of) for f in dataset.findings if f.code == "nearly-empty"}
    assert len(found) == 2
    assert all(0 < count <= 3 for count, _ in found.values())


def test_a_label_that_means_missing_elsewhere_is_warned_of(tmp_path):
    lines = [f"{i / 7:.3f},{('yes', 'no', 'NA')[i % 3]}" for i in range(120)]
    path = text(tmp_path, ["rain,bought", *lines])
    dataset = load(path)
    assert dataset.classes == ("NA", "no", "yes")
    [told_of] = [f for f in dataset.findings if f.code == "missing-as-class"]
    assert (told_of.column, told_of.count, told_of.of) == ("NA", 40, 120)
    assert "`--csv missing=NA`" in sentence(told_of)
    assert load(path, csv=("missing=NA",)).classes == ("no", "yes")


def test_columns_that_blanks_align_may_have_a_tab_before_the_last(tmp_path):
    """As in the file of cars and their fuel."""
    lines = [
        f"{i % 40 + 9:.1f}   {4 + i % 2 * 4}   {i % 50 + 90:.1f}      {('95.00', '?')[i % 9 == 0]}"
        f'      1  {i % 3 + 1}\t"ford pinto {i % 20}"'
        for i in range(120)
    ]
    dataset = load(text(tmp_path, lines, "auto.data"), label="x5")
    assert dataset.classes == (1, 2, 3)
    assert [c.name for c in dataset.schema.columns] == ["x0", "x1", "x2", "x3", "x6"]
    tabbed = [f"{i % 7}\ta  few  words {i % 5}\t{'yes' if i % 2 else 'no'}" for i in range(120)]
    dataset = load(text(tmp_path, ["n\twords\tbought", *tabbed], "t.tsv"))
    assert [c.name for c in dataset.schema.columns] == ["n", "words"]

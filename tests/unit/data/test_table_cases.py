"""Tables as people have them: read at the first try, with a warning about what was assumed."""

import bz2
import dataclasses
import datetime as dt
import gzip
import json
import lzma
import random
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from data_files import refused

from job import data
from job.config.csv import Csv
from job.config.data import DataOptions
from job.data.findings import holding, sentence
from job.data.schema import Parsing, Recipe
from job.errors import DataError, UsageError

ROWS = 600
CITIES = ("Lyon", "Nice", "Paris", "Lille")


def rows(count=ROWS, seed=0):
    """Customers; those of Paris with a high score buy."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        city, score = str(rng.choice(CITIES)), round(float(rng.normal()), 3)
        found.append(
            {
                "age": str(rng.integers(18, 80)),
                "income": f"{rng.normal(45_000, 9_000):.2f}",
                "city": city,
                "score": str(score),
                "bought": "yes" if score + (city == "Paris") > 0.3 else "no",
            }
        )
    return found


def write(path, table, delimiter=",", encoding="utf-8", end="\n"):
    quoted = (
        [f'"{v}"' if delimiter in v or "\n" in v else v for v in line]
        for line in ([list(table[0])] + [list(row.values()) for row in table])
    )
    text = "".join(delimiter.join(line) + end for line in quoted)
    path.write_bytes(text.encode(encoding))
    return path


def load(uri, test=None, *, recipe=None, **options):
    return data.load(
        str(uri), test_uri=test and str(test), validation_split=0.2, scratch="/nowhere",
        reading=DataOptions(**{"label": "bought"} | options), recipe=recipe,
    )  # fmt: skip


def kinds(dataset):
    return {column.name: column.kind for column in dataset.table.schema.columns}


def codes(dataset):
    return [found.code for found in dataset.findings]


PLAIN = {"age": "number", "income": "number", "city": "category", "score": "number"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load(write(tmp_path_factory.mktemp("plain") / "t.csv", rows()))


def changed(tmp_path, column, change, name="t.csv", **how):
    """The table with one column's texts changed."""
    table = [row | {column: change(i, row.get(column, ""))} for i, row in enumerate(rows())]
    return write(tmp_path / name, table, **how)


def german(text):
    return f"{float(text):,.2f}".translate(str.maketrans(",.", ".,"))


def accounting(text):
    return f"({text[1:]})" if text.startswith("-") else text


@pytest.mark.parametrize(
    ("column", "spelling"),
    [
        ("income", lambda text: f"{float(text):,.2f}"),
        ("income", lambda text: f"${float(text):,.2f}"),
        ("income", lambda text: f"{float(text):,.2f} €"),
        ("income", german),
        ("income", lambda text: german(text).replace(".", "\u202f")),
        ("income", lambda text: f"{float(text):,.2f}".replace(",", "'")),
        ("income", lambda text: f"{float(text):.6E}"),
        ("income", lambda text: f" {text}  "),
        ("score", accounting),
        ("score", lambda text: text.replace("-", "\u2212")),
        ("score", lambda text: f"{text}%"),
        ("score", lambda text: text.replace(".", ",")),
    ],
)
def test_numbers_as_people_write_them(column, spelling, tmp_path, plain):
    path = changed(tmp_path, column, lambda _, text: spelling(text), delimiter=";")
    dataset = load(path)
    assert kinds(dataset) == PLAIN
    assert codes(dataset) == []
    fresh = [row | {column: spelling(row[column])} for row in rows(50, seed=1)]
    [(raw, _, said)] = data.table_rows(
        str(write(tmp_path / "new.csv", fresh, delimiter=";")), dataset.table.schema, tmp_path
    )
    np.testing.assert_allclose(raw[column], [float(r[column]) for r in rows(50, seed=1)], rtol=1e-6)
    assert not said


@pytest.mark.parametrize(
    ("delimiter", "others", "value", "code"),
    [
        (",", "score", 44_585, ["ambiguous-numbers"]),  # the score has a decimal point
        (";", "", 44.585, ["ambiguous-numbers"]),
        (",", "", 44_585, ["ambiguous-numbers"]),
    ],
)
def test_thousands_or_decimals_are_decided_by_the_file(delimiter, others, value, code, tmp_path):
    keep = ["age", *filter(None, [others]), "bought"]
    table = [{k: row[k] for k in keep} | {"price": f"{40 + i % 9},585"} for i, row in
             enumerate(rows())]  # fmt: skip
    table[0]["price"] = "44,585"
    dataset = load(write(tmp_path / "t.csv", table, delimiter=delimiter))
    assert codes(dataset) == code
    for sign, expected in ((",", 44.585), (".", 44_585)):
        said = load(write(tmp_path / "t.csv", table, delimiter=delimiter), csv=(f"decimal={sign}",))
        [column] = [c for c in said.table.schema.columns if c.name == "price"]
        assert column.parsing.decimal == sign
        assert codes(said) == []
        number = next(iter(column.categories), column.minimum)
        assert (number < 1000) == (expected < 1000)
    [column] = [c for c in dataset.table.schema.columns if c.name == "price"]
    assert column.parsing.decimal == ("," if value < 1000 else ".")


@pytest.mark.parametrize("sign", ["", " ", "?", "-", ".", r"\N", "#DIV/0!", "NA", "n/a", "None"])
def test_signs_for_missing_numbers(sign, tmp_path):
    path = changed(tmp_path, "income", lambda i, text: sign if i % 10 == 3 else text)
    dataset = load(path)
    assert kinds(dataset) == PLAIN
    [income] = [c for c in dataset.table.schema.columns if c.name == "income"]
    assert income.has_missing
    assert codes(dataset) == (["missing-signs"] if sign.strip() else [])
    if sign.strip():
        assert (dataset.findings[0].count, dataset.findings[0].values) == (60, (sign,))


def test_signs_that_the_user_names_are_missing_everywhere(tmp_path):
    path = changed(tmp_path, "city", lambda i, text: "unknown" if i % 5 == 0 else text)
    assert load(path).table.schema.lookups[0].categories == (*sorted(CITIES), "unknown")
    city = load(path, csv=("missing=unknown", "missing=-1")).table.schema.lookups[0]
    assert city.categories == tuple(sorted(CITIES))
    assert city.has_missing
    assert city.parsing == Parsing(missing=("unknown", "-1"), trimmed=True, composed=True)


@pytest.mark.parametrize(
    ("values", "kind", "code"),
    [
        (lambda i: "3+" if i % 10 == 0 else str(i % 3), "category", "mixed-column"),
        (lambda i: "XL" if i % 4 == 0 else str(38 + i % 3), "category", "mixed-column"),
        (lambda i: "Bad Input" if i in (7, 9) else f"{i}.5", "number", "odd-values"),
        (lambda i: "98033-6314" if i == 7 else str(98_000 + i % 90), "number", "odd-values"),
        (lambda i: "inf" if i == 7 else f"{i}.5", "number", "too-large"),
        (lambda i: "1e39" if i == 7 else f"{i}.5", "number", "too-large"),
        (lambda i: "absent" if i % 8 == 0 else f"{i}.5", "number", "odd-values"),
    ],
)
def test_columns_that_are_mostly_numbers(values, kind, code, tmp_path):
    path = changed(tmp_path, "extra", lambda i, _: values(i))
    dataset = load(path)
    assert kinds(dataset)["extra"] == kind
    assert codes(dataset) == [code]
    assert load(path, number=("extra",)).table.schema.columns[-1].kind == "number"
    assert kinds(load(path, category=("extra",)))["extra"] == "category"


def test_a_ticket_is_left_out_with_a_warning(tmp_path):
    path = changed(tmp_path, "ticket", lambda i, _: f"PC {i}" if i % 4 == 0 else str(3000 + i))
    dataset = load(path)
    assert kinds(dataset) == PLAIN
    assert codes(dataset) == ["mixed-column", "free-text"]


START = dt.datetime(2023, 1, 1)


@pytest.mark.parametrize(
    ("form", "features"),
    [
        ("%Y-%m-%d", ("days", "year", "week")),
        ("%Y-%m-%dT%H:%M:%SZ", ("days", "year", "week", "day")),
        ("%m/%d/%Y %H:%M", ("days", "year", "week", "day")),
        ("%d/%m/%Y", ("days", "year", "week")),
        ("%d.%m.%Y %H:%M", ("days", "year", "week", "day")),
        ("%d-%b-%Y", ("days", "year", "week")),
        ("%b %d, %Y", ("days", "year", "week")),
        ("%d %B %Y", ("days", "year", "week")),
        ("%Y%m%dT%H%M%S", ("days", "year", "week", "day")),
        ("%Y-%m", ("days", "year", "week")),
        ("%m/%d/%y %I:%M %p", ("days", "year", "week", "day")),
        ("%H:%M:%S", ("day",)),
    ],
)
def test_dates_and_times(form, features, tmp_path):
    times = [START + dt.timedelta(hours=11 * i) for i in range(ROWS)]
    path = changed(tmp_path, "when", lambda i, _: times[i].strftime(form))
    dataset = load(path)
    column = dataset.table.schema.columns[-1]
    assert (column.kind, column.dtype, column.features) == ("datetime", "int64", features)
    assert codes(dataset) == []
    [(raw, *_)] = data.table_rows(str(path), dataset.table.schema, tmp_path)
    read = [dt.datetime.strptime(t.strftime(form), form).replace(tzinfo=dt.UTC) for t in times]
    if "%Y" not in form and "%y" not in form:
        read = [t.replace(year=1970) for t in read]
    assert raw["when"].tolist() == [int(t.timestamp()) for t in read]
    # What is no date is a missing one, and said.
    (tmp_path / "odd.csv").write_text("age,income,city,score,when\n1,2,Lyon,3,soon\n")
    [(raw, _, said)] = data.table_rows(str(tmp_path / "odd.csv"), dataset.table.schema, tmp_path)
    assert raw["when"].tolist() == [-(2**63)]
    assert [found.code for found in said] == ["bad-values", "newly-missing"]


@pytest.mark.parametrize("odd", ["", "?"])
def test_points_between_thousands_beside_a_decimal_comma(odd, tmp_path):
    table = [row | {"score": row["score"].replace(".", ","), "income": "", "price": f"{i % 9}"}
             for i, row in enumerate(rows())]  # fmt: skip
    for i, row in enumerate(table):
        row["price"] = f"{i % 9 + 1}.{100 + i}" if i % 5 else str(i % 7)
    table[3]["price"] = odd
    dataset = load(write(tmp_path / "t.csv", table, delimiter=";"))
    [price] = [c for c in dataset.table.schema.columns if c.name == "price"]
    assert (price.parsing.decimal, price.parsing.thousands) == (",", ".")
    assert price.maximum > 9000
    [found] = [f for f in dataset.findings if f.code == "ambiguous-numbers"]
    assert "read as" not in sentence(dataclasses.replace(found, values=()))
    assert "'2.101' may have a decimal sign or separate thousands; read as 2101.0." in sentence(
        found
    )


@pytest.mark.parametrize("sign", ["0000-00-00", "9999-12-31"])
def test_dates_that_databases_write_for_none(sign, tmp_path):
    path = changed(tmp_path, "when", lambda i, _: sign if i % 2 else f"2023-{i % 12 + 1:02}-05")
    dataset = load(path)
    assert (kinds(dataset)["when"], codes(dataset)) == ("datetime", ["missing-signs"])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS"),
    ],
)
def test_what_is_no_table_is_named(text, what, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=what):
        load(tmp_path / "t.csv")


def test_a_column_without_a_name_is_warned_of(tmp_path):
    lines = [f"{i % 40},{i % 7},{'uv'[i % 2]}\n" for i in range(200)]
    (tmp_path / "t.csv").write_text("age,bought\n" + "".join(lines))
    dataset = load(tmp_path / "t.csv")
    assert list(kinds(dataset)) == ["unnamed_0", "age"]
    assert "unnamed-column" in codes(dataset)


def test_dates_whose_order_is_not_sure(tmp_path):
    path = changed(tmp_path, "when", lambda i, _: f"{i % 12 + 1}/{i // 12 % 12 + 1}/2023")
    for said, order, found in (
        ((), "month-first", ["ambiguous-dates"]),
        (("day-first=yes",), "day-first", []),
        (("day-first=no",), "month-first", []),
    ):
        dataset = load(path, csv=said)
        assert dataset.table.schema.columns[-1].parsing.dates == order
        assert codes(dataset) == found
        assert all("'1/1/2023'" in sentence(f) and "2023-01-01" in sentence(f)
                   for f in dataset.findings)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "how"),
    [
        ([START + dt.timedelta(hours=i) for i in range(ROWS)], {}),
        ([dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in range(ROWS)], {}),
        ([dt.time(i % 24, 30) for i in range(ROWS)], {}),
        ([1_700_000_000 + 7919 * i for i in range(ROWS)], {}),
        ([1_700_000_000_000 + 7919 * i for i in range(ROWS)], {}),
        ([20230101 + i % 28 for i in range(ROWS)], {}),
    ],
)
def test_typed_times_and_numbers_that_are_named_so(values, how, tmp_path):
    columns = {key: [row[key] for row in rows()] for key in ("score", "bought")}
    pyarrow.parquet.write_table(pa.table(columns | {"event_date": values}), tmp_path / "t.parquet")
    column = load(tmp_path / "t.parquet").table.schema.columns[-1]
    assert (column.name, column.kind) == ("event_date", "datetime")
    assert column.features


def test_a_zone_is_turned_into_utc(tmp_path):
    path = changed(tmp_path, "when", lambda i, _: f"2024-03-{i % 28 + 1:02d}T00:30:00+02:00")
    [(raw, *_)] = data.table_rows(str(path), load(path).table.schema, tmp_path)
    assert raw["when"][0] == int(dt.datetime(2024, 2, 29, 22, 30, tzinfo=dt.UTC).timestamp())
    zoned = pa.array([START] * ROWS, pa.timestamp("us", tz="Europe/Paris"))
    table = pa.table({"when": zoned, "score": [row["score"] for row in rows()]})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("encoding", "end", "found"),
    [
        ("utf-8-sig", "\n", []),
        ("utf-16", "\n", []),
        ("utf-16-le", "\r\n", []),
        ("utf-8", "\r", []),
        ("utf-8", "\r\n", []),
        ("cp1252", "\n", ["encoding"]),
        ("latin-1", "\r\n", ["encoding"]),
    ],
)
def test_encodings_and_line_ends(encoding, end, found, tmp_path):
    table = [row | {"city": row["city"].replace("Lyon", "Besançon")} for row in rows()]
    dataset = load(write(tmp_path / "t.csv", table, encoding=encoding, end=end))
    assert kinds(dataset) == PLAIN
    assert dataset.table.schema.lookups[0].categories[0] == "Besançon"
    assert codes(dataset) == found
    named = load(
        write(
            tmp_path / "r.csv", table, encoding="cp1251" if encoding == "x" else encoding, end=end
        ),
        csv=(f"encoding={encoding}",),
    )
    assert named.digest == dataset.digest


BODY = "\n".join(",".join(row.values()) for row in rows())
HEADER = ",".join(rows()[0])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"sep=,\n{HEADER}\n{BODY}\n", []),
        (f"\n\n{HEADER}\n\n{BODY}\n\n", []),
        (f"Customers of 2023\n\n{HEADER}\n{BODY}\n", ["title-lines"]),
        (f"Customers of 2023,,,,\nunit: EUR,,,,\n{HEADER}\n{BODY}\n", ["title-lines"]),
        (f"# by a program\n{HEADER}\n{BODY}\n", ["title-lines"]),
        (f"{HEADER}\n{BODY}\nexported by a program\n", ["short-rows"]),
        (f"{HEADER}\n{BODY}\n# the end, that is\n", ["comment-lines"]),
        (f"{HEADER}\n{BODY}\nTotal,27000000,,,\n", ["total-rows"]),
        (f"{HEADER},\n{BODY.replace(chr(10), ',' + chr(10))},\n", []),
        (f"{HEADER}\n{BODY.replace(chr(10), ',' + chr(10))},\n", []),
        (f" {HEADER.replace(',', ' , ')}\n{BODY.replace(',', ', ')}\n", []),
        (f"{HEADER.replace('age', chr(34) + 'age' + chr(10) + '(years)' + chr(34))}\n{BODY}\n", []),
    ],
)
def test_what_stands_around_a_table(text, found, tmp_path, plain):
    path = tmp_path / "t.csv"
    path.write_text(text)
    dataset = load(path)
    assert codes(dataset) == found
    assert list(kinds(dataset).values()) == list(PLAIN.values())
    assert len(dataset.train) + len(dataset.test) == ROWS
    if "age\n" not in text:
        assert dataset.digest == plain.digest
    new = list(data.table_rows(str(path), dataset.table.schema, tmp_path))
    assert sum(len(next(iter(raw.values()))) for raw, *_ in new) == ROWS
    assert [each.code for *_, said in new for each in said] == found


def test_quotes_behind_blanks(tmp_path):
    lines = ('{}, "{}, quoted", {}\n'.format(i / 7, "xy"[i % 2], "pq"[i % 2]) for i in range(60))
    (tmp_path / "t.csv").write_text('n, "c", bought\n' + "".join(lines))
    [_, city] = load(tmp_path / "t.csv").table.schema.columns
    assert city.categories == ("x, quoted", "y, quoted")


def test_columns_of_blanks(tmp_path, plain):
    table = [list(rows()[0]), *(list(row.values()) for row in rows())]
    (tmp_path / "t.data").write_text("\n".join("   ".join(line) + " " for line in table))
    assert load(tmp_path / "t.data").digest == plain.digest


def test_quotes_inside_of_tabbed_text(tmp_path):
    quote = ['"' if i == 9 else "" for i in range(90)]
    lines = [f"{'pq'[i % 2]}\t{quote[i]}word {i % 7} more text" for i in range(90)]
    (tmp_path / "sms.tsv").write_text("bought\ttext\n" + "\n".join(lines))
    dataset = load(tmp_path / "sms.tsv", text=("text",))
    assert len(dataset.train) + len(dataset.test) == 90


def test_no_header(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(BODY)
    dataset = load(path, label="x4")
    assert codes(dataset) == ["no-header"]
    assert kinds(dataset) == {f"x{i}": kind for i, kind in enumerate(PLAIN.values())}
    assert codes(load(path, label="x4", csv=("header=no",))) == []
    schema = dataset.table.schema
    [(raw, *_)] = data.table_rows(str(path), schema, tmp_path)
    assert len(raw["x0"]) == ROWS
    # The label is the first column, and new rows lack it.
    flipped = "\n".join(",".join([row["bought"], *list(row.values())[:-1]]) for row in rows())
    path.write_text(flipped)
    schema = load(path, label="x0").table.schema
    path.write_text(BODY.replace(",yes", "").replace(",no", ""))
    [(raw, *_)] = data.table_rows(str(path), schema, tmp_path)
    assert raw["x1"][0] == float(rows()[0]["age"])
    letters = "\n".join(",".join("abcdef"[(i // k) % 6] for k in (1, 6, 9, 36)) for i in range(999))
    path.write_text(letters)
    assert codes(load(path, label="x0"))[:1] == ["no-header"]
    path.write_text(
        "2019,2020,kind\n" + "".join(f"{i / 7},{i / 3},{'pq'[i % 2]}\n" for i in range(60))
    )
    assert list(kinds(load(path, label="kind"))) == ["2019", "2020"]


def test_names_of_columns(tmp_path, plain):
    twice = [row | {"age ": row["age"]} for row in rows()]
    dataset = load(write(tmp_path / "t.csv", twice))
    assert codes(dataset) == ["repeated-name"]
    assert list(kinds(dataset))[-1] == "age_2"
    counted = [{"": str(i)} | row for i, row in enumerate(rows())]
    dataset = load(write(tmp_path / "i.csv", counted))
    assert codes(dataset) == ["index-column"]
    assert dataset.digest == plain.digest
    assert dataset.table.schema.hashed == plain.table.schema.hashed  # twins stay together
    cased = [row | {"Age": row["score"]} for row in rows()]
    schema = load(write(tmp_path / "c.csv", cased)).table.schema
    assert schema.identifiers()["Age"] == "Age_2"
    near = "'agee', no such column"
    with pytest.raises(UsageError, match=near) as caught:
        load(tmp_path / "c.csv", exclude=("agee",))
    assert "Did you mean 'age'" in caught.value.hint
    with pytest.raises(UsageError, match="'age,score', no such column") as caught:
        load(tmp_path / "c.csv", exclude=("age,score",))
    assert caught.value.hint == 'Separate names with blanks, in quotes: "age score".'


@pytest.mark.parametrize(
    ("ids", "name", "found"),
    [
        (lambda i: str(i), "n", ["identifier"]),
        (lambda i: str(7919 * i % 100_003), "customer_id", ["identifier"]),
        (lambda i: str(7919 * i % 100_003), "CustomerID", ["identifier"]),
        (lambda i: str(1_000_000 + 7919 * i), "n", ["identifier"]),
        (lambda i: str(i % 40), "store_id", []),
        (lambda i: f"C-{i}", "n", ["free-text"]),
        (lambda i: "1", "n", ["constant-column"]),
        (lambda i: "", "n", ["empty-column"]),
        (lambda i: str(7919 * i % 100_003), "price", ["unique-numbers"]),
        (lambda i: str(7919 * i % 100_003 // 300), "price", []),
    ],
)
def test_columns_that_are_no_features(ids, name, found, tmp_path, plain):
    dataset = load(changed(tmp_path, name, lambda i, _: ids(i)))
    assert codes(dataset) == found
    kept = found in ([], ["unique-numbers"])
    assert (name in kinds(dataset)) == kept
    if not kept:
        assert dataset.digest == plain.digest


def test_the_index_of_pandas(tmp_path):
    table = pa.table(
        {
            "score": [float(row["score"]) for row in rows()],
            "bought": [row["bought"] for row in rows()],
            "__index_level_0__": sorted(range(ROWS), key=lambda i: rows()[i]["bought"]),
            "key": list(range(ROWS)),
        }
    )
    told = {"index_columns": ["__index_level_0__", "key"], "columns": [], "column_indexes": []}
    table = table.replace_schema_metadata({"pandas": json.dumps(told)})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    dataset = load(tmp_path / "t.parquet")
    assert list(kinds(dataset)) == ["score"]
    assert codes(dataset) == ["index-column", "index-column"]
    pyarrow.feather.write_feather(table, tmp_path / "t.feather")
    assert load(tmp_path / "t.feather").digest == dataset.digest


def excel(path, table, above=()):
    """The least that is an .xlsx file: one sheet of inline texts and numbers."""

    def cell(value):
        try:
            return f"<c><v>{float(value)!r}</v></c>"
        except ValueError:
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    lines = [*above, list(table[0]), *(list(row.values()) for row in table)]
    body = "".join(f"<row>{''.join(map(cell, line))}</row>" for line in lines)
    schemas = "http://schemas.openxmlformats.org"
    office, main = (
        f"{schemas}/officeDocument/2006/relationships",
        f"{schemas}/spreadsheetml/2006/main",
    )
    package = f'xmlns="{schemas}/package/2006/relationships"'

    def link(kind, target):
        whole = f'<Relationship Id="r1" Type="{office}/{kind}" Target="{target}"/>'
        return f"<Relationships {package}>{whole}</Relationships>"

    types = f'<Types xmlns="{schemas}/package/2006/content-types"/>'
    sheets = '<sheets><sheet name="one" sheetId="1" r:id="r1"/></sheets>'
    parts = {
        "[Content_Types].xml": types,
        "_rels/.rels": link("officeDocument", "xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}">{sheets}</workbook>',
        "xl/_rels/workbook.xml.rels": link("worksheet", "worksheets/sheet1.xml"),
        "xl/worksheets/sheet1.xml": (
            f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>'
        ),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def test_other_files(tmp_path, plain):
    table = [row | {"ref": f"r{i:04}"} for i, row in enumerate(rows())]
    refs = {row["ref"]: row for row in table}
    text = write(tmp_path / "t.csv", table).read_bytes()
    lines = [json.dumps(row) for row in table]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    (tmp_path / "lines.json").write_text("\n".join(lines))
    (tmp_path / "t.json").write_text(json.dumps(table))
    (tmp_path / "p.json").write_text(json.dumps(table, indent=1))
    columns = {key: [row[key] for row in table] for key in table[0]}
    (tmp_path / "c.json").write_text(json.dumps(columns))
    by_row = {key: {str(i): v for i, v in enumerate(values)} for key, values in columns.items()}
    (tmp_path / "pandas.json").write_text(json.dumps(by_row))
    (tmp_path / "rows.json").write_text(json.dumps({"data": table, "count": len(table)}))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "t.csv.bz2").write_bytes(bz2.compress(text))
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(text))
    (tmp_path / "t.csv.zst").write_bytes(pa.compress(text, "zstd", asbytes=True))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("inside.csv", text)
    write(tmp_path / "t.tsv", table, delimiter="\t")
    write(tmp_path / "t.txt", table, delimiter="|")
    write(tmp_path / "noending", table, delimiter=";")
    excel(tmp_path / "t.xlsx", table)
    for path in sorted(tmp_path.iterdir()):
        dataset = load(path, keep=("ref",))
        assert (path.name, dataset.digest) == (path.name, plain.digest)
        assert codes(dataset) == []
        kept = [refs[ref] for ref in dataset.kept["ref"].to_pylist()]
        labels = [dataset.classes[code] for code in dataset.test.y]
        assert [row["bought"] for row in kept] == labels
        assert [float(row["age"]) for row in kept] == dataset.table.test["age"].tolist()
        schema, reading = dataset.table.schema, DataOptions(keep=(" ref",))
        blocks = list(data.table_rows(str(path), schema, tmp_path, reading))
        streamed = [ref for _, carried, _ in blocks for ref in carried["ref"].to_pylist()]
        assert streamed == list(refs)
        assert sum(len(raw["age"]) for raw, _, _ in blocks) == ROWS
    titled = excel(tmp_path / "titled.xlsx", table, above=(["Customers", "", ""], []))
    dataset = load(titled, keep=("ref",))
    assert codes(dataset) == ["title-lines"]
    assert dataset.digest == plain.digest
    (tmp_path / "broken.xlsx").write_bytes(b"PK\3\4nonsense")
    with refused(DataError, "broken.xlsx", "Excel"):
        load(tmp_path / "broken.xlsx")


def test_columns_to_keep_are_not_learned_from_unless_named(tmp_path, plain):
    path = changed(tmp_path, "ref", lambda i, _: f"r{i}")
    for name in ("Ref", "reff"):
        with pytest.raises(UsageError, match=f"--keep: .* Received: '{name}'") as caught:
            load(path, keep=(name,))
        assert caught.value.hint.startswith("Did you mean 'ref'")
    excluded = load(path, keep=("ref",), exclude=("ref",))
    assert excluded.digest == plain.digest
    assert set(excluded.kept) == {"ref"}
    assert "age" not in kinds(load(path, keep=("age",)))
    both = load(path, keep=("age",), number=("age",))
    assert kinds(both)["age"] == "number"
    assert both.kept["age"].to_pylist() == [f"{age:.0f}" for age in both.table.test["age"]]


def test_a_column_to_keep_that_is_not_there_is_empty(tmp_path):
    path = changed(tmp_path, "ref", lambda i, _: f"r{i}")
    dataset = load(path, write(tmp_path / "test.csv", rows(50, seed=1)), keep=("ref",))
    assert codes(dataset) == ["kept-missing"]
    assert dataset.kept["ref"].to_pylist() == [None] * 50
    [(_, kept, found)] = data.table_rows(
        str(tmp_path / "test.csv"), dataset.table.schema, tmp_path, DataOptions(keep=("scor",))
    )
    assert kept["scor"].to_pylist() == [None] * 50
    [said] = [sentence(each) for each in found]
    assert said.startswith("Column 'scor' of --keep is not there, and is empty")
    assert "'score'" in said


def test_labels_are_trimmed_and_blank_ones_missing(tmp_path, plain):
    def spaced(i, text):
        return f"{text} " if i % 2 else text

    assert load(changed(tmp_path, "bought", spaced)).digest == plain.digest
    dataset = load(changed(tmp_path, "bought", lambda i, text: " " if i % 4 == 0 else text))
    assert dataset.classes == ("no", "yes")
    assert codes(dataset) == ["unlabelled-rows", "lost-rows"]
    assert [found.code for found in holding(dataset.findings, ())] == ["lost-rows"]
    empty = load(changed(tmp_path, "bought", lambda i, text: "" if i % 4 == 0 else text))
    assert codes(empty) == ["unlabelled-rows"]  # they never were labels
    assert empty.digest == dataset.digest
    cased = load(changed(tmp_path, "bought", lambda i, text: text.upper() if i % 3 == 0 else text))
    assert cased.classes == ("NO", "YES", "no", "yes")
    assert codes(cased) == ["similar-labels"]


def test_none_is_a_class_in_csv_as_in_parquet(tmp_path):
    def named(_, text):
        return {"yes": "None", "no": "N/A"}[text]

    path = changed(tmp_path, "bought", named)
    dataset = load(path)
    assert dataset.classes == ("N/A", "None")
    table = [row | {"bought": named(0, row["bought"])} for row in rows()]
    columns = {key: [row[key] for row in table] for key in table[0]}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").digest == dataset.digest
    with refused(DataError, "missing values only"):
        load(path, csv=("missing=None", "missing=N/A"))


def test_classes_that_are_missing_on_one_side(tmp_path):
    for i in range(40):  # one of the two places is on each side
        dataset = load(changed(tmp_path, "bought", lambda j, text, i=i: "odd" if i == j else text))
        if "lost-class" in codes(dataset):
            [lost] = holding(dataset.findings, ())
            assert (lost.column, lost.count) == ("odd", 1)
            assert dataset.classes == ("no", "yes")
        else:
            assert "class-without-test-rows" in codes(dataset)
            assert dataset.classes == ("no", "odd", "yes")


def test_free_text_is_words_when_it_is_all_there_is(tmp_path):
    words = [
        "free",
        "prize",
        "call",
        "now",
        "win",
        "cash",
        "hello",
        "dear",
        "how",
        "are",
        "you",
        "today",
    ]
    rng = random.Random(0)
    lines = []
    for i in range(400):
        spam = i % 2
        some = words[:6] if spam else words[6:]
        text = " ".join(rng.choice(some) for _ in range(9)) + f" {i}"
        lines.append({"bought": "spam" if spam else "ham", "text": f"{text}, Ä!"})
    path = write(tmp_path / "t.csv", lines)
    dataset = load(path)
    [column] = dataset.table.schema.columns
    assert (column.kind, column.dtype) == ("text", "string")
    assert {"free", "prize", "hello", "win cash"} <= set(column.categories)
    assert dataset.train.x["words"].shape == (len(dataset.train), column.words)
    assert codes(dataset) == ["text-column"]
    more = write(tmp_path / "m.csv", [row | {"n": f"{i % 7}.5"} for i, row in enumerate(lines)])
    assert kinds(load(more)) == {"n": "number"}
    assert kinds(load(more, text=("text",))) == {"text": "text", "n": "number"}
    with pytest.raises(UsageError, match="--text"):
        load(more, text=("nothing",))


def test_a_quantity_with_a_value_for_each_row_is_a_regression(tmp_path):
    table = [row | {"bought": str(34_900 + 977 * i)} for i, row in enumerate(rows())]
    with refused(DataError, "600 different", "regression"):
        load(write(tmp_path / "t.csv", table))


def test_some_lines_with_two_tabs_for_one(tmp_path, plain):
    table = rows()
    lines = ["\t".join(row.values()) for row in table]
    lines[7] = lines[7].replace("\t", "\t\t", 1)
    (tmp_path / "t.txt").write_text("\n".join(["\t".join(table[0]), *lines]))
    assert load(tmp_path / "t.txt").digest == plain.digest


def test_csv_options_are_checked():
    assert Csv.of(("decimal=,", "thousands=space", "header=3", "day-first=yes")) == Csv(
        decimal=",", thousands=" ", header="3", day_first=True
    )
    for bad in ("decimal", "decimals=,", "decimal=;", "header=maybe", "encoding=utf-99",
                "day-first=perhaps", "delimiter=;;"):  # fmt: skip
        with pytest.raises(UsageError, match="--csv"):
            Csv.of((bad,))
    with pytest.raises(UsageError, match="twice"):
        Csv.of(("decimal=,", "decimal=."))
    with pytest.raises(UsageError, match="different signs"):
        Csv.of(("decimal=,", "thousands=,"))


def awkward(path):
    """A table whose values the first version read in ways of its own."""
    rng = random.Random(3)
    lines = [
        (
            str(i),
            rng.choice([" lyon", "Lyon", "7", "007", "None", "N/A", "x y"]),
            rng.choice(["1.50", "2", "", "3e1", " 4", "NaN"]),
            rng.choice(["True", "false", ""]),
            rng.choice(["1", "2", "3"]),
            rng.choice(["g1", "g2", "", "NA", "g 4"]),
            rng.choice("pq"),
        )
        for i in range(200)
    ]
    path.write_text("id,city , price,flag,n,g,y\n" + "".join(",".join(x) + "\n" for x in lines))
    return path


def ids(dataset):
    return [int(i) for i in dataset.table.source.columns["id"].to_pylist()]


@pytest.mark.parametrize("group", [None, "g"])
def test_the_first_versions_test_rows_stay_test_rows(group, tmp_path):
    """OLD was printed by the version before recipes had versions."""
    columns = ("id", "city ", " price", "flag", "n", "g")
    recipe = Recipe(columns=None if group else columns, group=group, version=1)
    path = awkward(tmp_path / "t.csv")
    dataset = load(path, label="y", group=group, recipe=recipe)
    assert ids(dataset) == OLD[group]
    schema = dataset.table.schema
    assert Recipe.of(schema) == recipe  # copied into the new version
    _, y, said = data.load_test_table(
        str(path), test_uri=None, classes=("p", "q"), schema=schema, scratch=tmp_path,
        reading=DataOptions(label="y", group=group),
    )  # fmt: skip
    assert len(y) == len(OLD[group])
    assert "held-out-share" in [found.code for found in said]
    # A model of the first version is asked about the same rows.
    old = dataclasses.replace(
        schema, columns=tuple(dataclasses.replace(c, parsing=Parsing()) for c in schema.columns)
    )
    assert len(dataset.table.rows_for(old)["flag"]) == len(y)


OLD = {
    None: [
        0, 5, 7, 9, 24, 30, 37, 44, 49, 54, 56, 58, 70, 74, 77, 78, 83, 84, 91, 95, 99, 102, 103,
        106, 113, 114, 127, 128, 134, 143, 144, 147, 152, 153, 155, 157, 160, 178, 181, 194, 195,
        197,
    ],
    "g": [
        0, 3, 4, 7, 18, 22, 33, 34, 37, 44, 46, 48, 49, 54, 56, 62, 74, 77, 80, 83, 84, 91, 95, 101,
        106, 108, 113, 114, 118, 120, 123, 127, 128, 130, 132, 133, 138, 139, 140, 153, 155, 162,
        163, 164, 174, 177, 179, 181, 182, 186, 189, 194, 195,
    ],
}  # fmt: skip


def test_a_recipe_is_followed_whatever_columns_become(tmp_path):
    first = load(write(tmp_path / "a.csv", rows()))
    recipe = Recipe.of(first.table.schema)
    assert recipe == Recipe(columns=("age", "income", "city", "score"), version=2)

    def test_rows(dataset):
        return set(dataset.table.source.columns["income"].to_pylist())

    more = [row | {"new": f"{i / 7}"} for i, row in enumerate(rows())]
    more[5]["age"] = "3+"
    later = load(write(tmp_path / "b.csv", more), recipe=recipe, exclude=("score",))
    changed_row = rows()[5]["income"]
    assert test_rows(later) - {changed_row} == test_rows(first) - {changed_row}
    assert "split-moved" not in codes(later)
    gone = [{k: v for k, v in row.items() if k != "score"} for row in rows()]
    assert "split-moved" in codes(load(write(tmp_path / "c.csv", gone), recipe=recipe))
    assert "split-moved" in codes(load(tmp_path / "a.csv", recipe=recipe, group="city"))


def large(path, change=lambda i, row: row, count=40_000):
    return write(path, [change(i, row) for i, row in enumerate(rows(count))])


def test_a_large_file_is_read_as_a_small_one_is(tmp_path):
    """From a megabyte on, plain numbers are read as numbers at once."""
    path = large(tmp_path / "t.csv")
    assert path.stat().st_size > 1 << 20
    table = pyarrow.csv.read_csv(path)
    typed = load(path)
    as_text = table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))
    pyarrow.parquet.write_table(as_text, tmp_path / "t.parquet")
    texts = load(tmp_path / "t.parquet")
    assert typed.table.schema == texts.table.schema
    assert typed.digest == texts.digest == load(path, csv=("missing=nothing",)).digest
    assert codes(typed) == []


@pytest.mark.parametrize(
    ("column", "text", "found"),
    [
        ("age", "old", "odd-values"),
        ("income", "?", "missing-signs"),
        ("city", "Besan\udce7on", "encoding"),
    ],
)
def test_what_stands_far_below_in_a_large_file(column, text, found, tmp_path):
    def change(i, row):
        return row | {column: text} if i == 39_000 else row

    path = tmp_path / "t.csv"
    table = [change(i, row) for i, row in enumerate(rows(40_000))]
    lines = [",".join(each) for each in ([*table[0]], *(row.values() for row in table))]
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    dataset = load(path)
    assert codes(dataset) == [found]
    assert kinds(dataset) == PLAIN


def test_points_between_thousands_are_seen_in_a_large_file(tmp_path):
    def change(i, row):
        price = "1.234.567" if i == 39_000 else f"{1 + i % 9}.{100 + i % 800}"
        return {"city": row["city"], "price": price, "bought": row["bought"]}

    dataset = load(large(tmp_path / "t.csv", change, 80_000))
    assert codes(dataset) == []
    [price] = [c for c in dataset.table.schema.columns if c.name == "price"]
    assert price.minimum >= 1100


def leaking(tmp_path, table, other=None, **options):
    """The finding about test rows that are training rows, in words."""
    dataset = load(write(tmp_path / "a.csv", table), other, **options)
    told = [found for found in dataset.findings if "look alike" in sentence(found)
            or "flatters" in sentence(found)]  # fmt: skip
    return (told[0].code, sentence(told[0])) if told else ("", "")


def test_why_test_rows_are_training_rows(tmp_path):
    table = [{"customer_id": f"c{i}"} | row for i, row in enumerate(rows())]
    other = write(tmp_path / "b.csv", [row | {"customer_id": "new"} for row in table[:7]])
    code, words = leaking(tmp_path, table, other)
    assert (code, "'customer_id'" in words) == ("leakage", True)
    few = [{"city": row["city"], "bought": row["bought"]} for row in table]
    code, words = leaking(tmp_path, few, write(tmp_path / "f.csv", few[:50]))
    assert (code, "more columns" in words) == ("few-different-rows", True)
    twins = [row | table[i % 60] | {"shop": str(i % 7)} for i, row in enumerate(table)]
    assert leaking(tmp_path, twins, group="shop")[0] == "leakage-of-groups"
    assert leaking(tmp_path, twins, exclude=("shop",)) == ("", "")  # the remedy
    spelled = [row | {"income": f"${row['income']}"} if i >= 60 else row for i, row in
               enumerate(twins)]  # fmt: skip
    assert leaking(tmp_path, spelled, exclude=("shop",))[0] == "leakage-by-spelling"
    old = Recipe(columns=("shop", "age", "income", "score"))
    dataset = load(tmp_path / "a.csv", exclude=("shop",), recipe=old)
    [found] = [each for each in dataset.findings if each.code.startswith("leakage")]
    assert (found.code, found.values) == ("leakage-by-recipe", ("shop",))


def test_a_table_of_few_different_rows_has_them_on_both_sides(tmp_path):
    table = [{"n": f"{i % 3}.5", "bought": "uv"[i % 2]} for i in range(90)]
    dataset = load(write(tmp_path / "t.csv", table))
    assert 8 <= len(dataset.test) <= 30
    assert codes(dataset) == ["few-different-rows"]
    schema, classes = dataset.table.schema, dataset.classes
    assert Recipe.of(schema).version == 3
    more = write(tmp_path / "more.csv", [*table, *table[:30], {"n": "0.5", "bought": "w"}])
    again = load(more, recipe=Recipe.of(schema))
    shared = np.intersect1d(again.table.source.rows, np.arange(90))
    np.testing.assert_array_equal(shared, dataset.table.source.rows)
    _, answers, *_ = data.load_test_table(
        str(more), test_uri=None, classes=classes, schema=schema, scratch=tmp_path,
        reading=DataOptions(label="bought"),
    )  # fmt: skip
    lost = sum(each.count for each in again.findings if each.code == "lost-class")
    assert len(answers) == len(again.test) - (0 if lost else (again.test.y == 2).sum())


def test_a_dropped_identifier_does_not_separate_twins(tmp_path):
    table = [{"customer_id": str(i)} | rows(60)[i % 60] for i in range(600)]
    dataset = load(write(tmp_path / "t.csv", table))
    assert dataset.duplicates == 0
    assert "customer_id" not in dataset.table.schema.hashed

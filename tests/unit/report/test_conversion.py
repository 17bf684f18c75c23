"""The conversion from pandas that a model card prints gives what `predict` reads."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from job import data
from job.config.data import DataOptions
from job.report.conversion import from_pandas, read_csv

ROWS = 120
START = dt.datetime(2023, 1, 1, 7, 30)
COLUMNS = {
    "n/1": lambda i: f"{i / 7:.3f}",
    "money": lambda i: "" if i % 9 == 0 else f"${1000 + i * 37 / 4:,.2f}",
    "debit": lambda i: f"({i / 4:.2f})" if i % 3 else f"{i / 4:.2f}",
    "euro": lambda i: f"{1000 + i / 4:,.2f}".translate(str.maketrans(",.", ".,")),
    "rate": lambda i: f"{i / 4}%",
    "owed": lambda i: f"{i / 4}-" if i % 3 else f"{i / 4}",
    "size": lambda i: f"{i / 4}K" if i % 3 else f"{i}M",
    "way": lambda i: f"{i / 4} km",
    "zip": lambda i: f"{i % 7 * 1161:05}",
    "place": lambda i: ("Ko\u0308ln", "Köln", "Nice")[i % 3],
    "city": lambda i: ("Köln ", " Osaka", "", "NA")[i % 4],
    "few": lambda i: "" if i % 5 == 0 else str(i % 3),
    "yes": lambda i: str(i % 2 == 0),
    "us": lambda i: (START + dt.timedelta(hours=31 * i)).strftime("%m/%d/%Y %H:%M"),
    "eu": lambda i: "" if i % 7 == 0 else (START + dt.timedelta(days=i)).strftime("%d.%m.%Y"),
    "iso": lambda i: (START + dt.timedelta(hours=i)).isoformat() + "+02:00",
    "clock": lambda i: f"{i % 24:02}:30:00",
    "signup_date": lambda i: str(20230101 + i % 28),
    "event_timestamp": lambda i: str(1_700_000_000_000 + i * 7_919_000),
    "words": lambda i: ("free prize call", "hello dear friend", "see you soon")[i % 3] + f" {i}",
}


@pytest.mark.parametrize("typed", [False, True])
def test_the_printed_conversion_gives_what_predict_reads(typed, tmp_path):
    frame = pd.DataFrame(
        {name: [value(i) for i in range(ROWS)] for name, value in COLUMNS.items()}
        | {"y": ["a", "b"] * (ROWS // 2)}
    )
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False, sep=";")
    dataset = data.load(
        str(path), test_uri=None, validation_split=0.2, scratch=tmp_path,
        reading=DataOptions(label="y", text=("words",)),
    )  # fmt: skip
    schema = dataset.table.schema
    assert {column.name for column in schema.columns} == set(COLUMNS)
    code = read_csv(schema)
    assert code == "frame = pandas.read_csv(\"rows.csv\", dtype={'zip': str})"
    code = code.replace('"rows.csv"', 'path, sep=";", keep_default_na=typed')
    found = {"pandas": pd, "np": np, "path": path, "typed": not typed}
    exec(code if typed else code.replace("{'zip': str}", "str"), found)
    frame = found["frame"]
    if not typed:
        frame["city"] = [COLUMNS["city"](i) for i in range(ROWS)]
    exec(from_pandas(schema), found)
    [(expected, *_)] = data.table_rows(str(path), schema, tmp_path)
    for name, values in expected.items():
        said = found["rows"][schema.inputs()[name]]
        assert said.dtype == values.dtype, name
        np.testing.assert_array_equal(said, values, name)

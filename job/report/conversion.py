"""Python code that turns a pandas frame into what a table's published model takes."""

from job.data.schema import MISSING_INTEGER, Column, Schema

HELPERS = {
    "text": """
def text(values, missing=()):
    texts = values.astype("string").str.strip().str.normalize("NFC")
    return texts.mask(texts.isin(list(missing))).fillna("").to_numpy(object)
""",
    "number": """
def number(values, decimal=".", thousands="", marks=False, unit=""):
    factors = 1.0
    if pandas.api.types.is_timedelta64_dtype(values):
        values = values / pandas.Timedelta(microseconds=1)
    if not pandas.api.types.is_numeric_dtype(values):
        values = values.astype("string").str.strip()
        if unit == "K, M, B":
            scales = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
            factors = values.str[-1].map(scales).fillna(1.0).to_numpy("float64")
            values = values.str.replace(r" ?[kKMB]$", "", regex=True)
        elif unit:
            values = values.where(values.str.endswith(unit)).str.removesuffix(unit).str.strip()
        if marks:
            values = values.str.replace("[\\u2212\\u2010-\\u2014]", "-", regex=True)
            values = values.str.replace(r"^\\((.+)\\)$", r"-\\1", regex=True)
            values = values.str.replace(r"^(\\d.*?) ?-$", r"-\\1", regex=True)
            values = values.str.replace(r"[^0-9.,'eE+\\- ]", "", regex=True).str.strip()
        if thousands:
            values = values.str.replace(thousands, "", regex=False)
        values = values.str.replace(decimal, ".", regex=False)
    numbers = pandas.to_numeric(values, errors="coerce").to_numpy("float64", na_value=np.nan)
    return (numbers * factors).astype("float32")
""",
    "whole": f"""
def whole(values, **how):
    texts = values.astype("string").str.strip().str.lower()
    numbers = number(texts.replace({{"true": "1", "false": "0"}}), **how).astype("float64")
    return np.where(
        np.isnan(numbers), {MISSING_INTEGER}, np.nan_to_num(numbers)
    ).astype("int64")
""",
    "seconds": f"""
def seconds(values, day_first=False):
    if not pandas.api.types.is_datetime64_any_dtype(values):
        values = values.astype("string").str.strip()
        values = values.str.replace(r"^(\\d\\d?:\\d\\d)", r"1970-01-01 \\1", regex=True)
    when = pandas.to_datetime(
        values, format="mixed", dayfirst=day_first, utc=True, errors="coerce"
    ).astype("datetime64[s, UTC]")
    return when.astype("int64").where(when.notna(), {MISSING_INTEGER}).to_numpy()
""",
    "counted": f"""
def counted(values, unit):
    if unit == "days":
        return seconds(values.astype("Int64").astype("string"))
    numbers = values.astype("Int64") // (1000 if unit == "milliseconds" else 1)
    return numbers.fillna({MISSING_INTEGER}).to_numpy("int64")
""",
}
"""Function → its code, in an order in which each stands below what it calls."""

NEEDS = {"whole": ("number",), "counted": ("seconds",)}


def read_csv(schema: Schema) -> str:
    """Code that reads `frame` from a CSV file, with codes such as 01161 as they are written.

    Args:
        schema: The columns that the model takes.
    """
    codes = [
        column.name
        for column in schema.columns
        if column.dtype == "string" and all(str(each).isdigit() for each in column.categories)
    ]
    kinds = ", ".join(f"{name!r}: str" for name in codes)
    return f'frame = pandas.read_csv("rows.csv"{f", dtype={{{kinds}}}" if kinds else ""})'


def from_pandas(schema: Schema) -> str:
    """Code that makes `rows` from `frame`, without imports.

    Args:
        schema: The columns that the model takes.
    """
    calls = {column.name: _call(column) for column in schema.columns}
    used = {function for function, _ in calls.values()}
    used |= {each for function in used for each in NEEDS.get(function, ())}
    inputs = schema.inputs()
    lines = [
        f"    {inputs[name]!r}: {function}(frame[{name!r}]{how}),"
        for name, (function, how) in calls.items()
    ]
    helpers = "\n".join(code for name, code in HELPERS.items() if name in used)
    return "\n".join([helpers.strip("\n"), "", "rows = {", *lines, "}"])


def _call(column: Column) -> tuple[str, str]:
    """The function for a column, and its further arguments."""
    parsing = column.parsing
    if column.dtype == "string":
        return "text", f", {parsing.missing!r}" if parsing.missing else ""
    if column.kind == "datetime":
        if not parsing.dates.endswith("-first"):
            return "counted", f", {parsing.dates!r}"
        return "seconds", ", day_first=True" if parsing.dates == "day-first" else ""
    how = [
        f"decimal={parsing.decimal!r}" if parsing.decimal != "." else "",
        f"thousands={parsing.thousands!r}" if parsing.thousands else "",
        "marks=True" if parsing.marks else "",
        f"unit={parsing.unit!r}" if parsing.unit else "",
    ]
    told = "".join(f", {each}" for each in how if each)
    return ("number" if column.kind == "number" else "whole"), told

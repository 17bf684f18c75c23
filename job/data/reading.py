"""What a user says about how data is to be read: options that are not in the data itself."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

from job.errors import UsageError

KEYS = ("decimal", "thousands", "delimiter", "encoding", "header", "missing", "day-first")
BLANKS = {"space": " ", "tab": "\t", "none": "", r"\t": "\t"}


@dataclass(frozen=True, kw_only=True)
class Csv:
    """What `--csv` says of a text file; an empty value is found from the file.

    Attributes:
        decimal: The decimal sign, a point or a comma.
        thousands: What stands between thousands.
        delimiter: What stands between fields.
        encoding: A name that Python knows, such as cp1251.
        header: yes, no, or the number of its line, counting from 1.
        missing: Texts that stand for a missing value in every column.
        day_first: Whether 3/4/2026 is in April; None to find out.
    """

    decimal: str = ""
    thousands: str = ""
    delimiter: str = ""
    encoding: str = ""
    header: str = ""
    missing: tuple[str, ...] = ()
    day_first: bool | None = None

    @classmethod
    def of(cls, words: tuple[str, ...]) -> "Csv":
        """Reads KEY=VALUE, each key once but for missing.

        Raises:
            UsageError: An unknown key or a value out of range.
        """
        found: dict[str, Any] = {}
        for word in words:
            key, equals, value = word.partition("=")
            key = key.strip().lower().replace("_", "-")
            if not equals or key not in KEYS:
                raise UsageError(
                    f"--csv: expected KEY=VALUE with a key of {', '.join(KEYS)}. "
                    f"Received: {word!r}.",
                    hint="For example: --csv 'decimal=, thousands=.' or --csv header=no.",
                )
            if key == "missing":
                found["missing"] = (*found.get("missing", ()), value)
                continue
            name = key.replace("-", "_")
            if name in found:
                raise UsageError(
                    f"--csv: expected each key once. Received: {key!r} twice.",
                    hint="Only missing= may be repeated.",
                )
            found[name] = _checked(key, BLANKS.get(value.lower(), value))
        if found.get("decimal") and found.get("decimal") == found.get("thousands"):
            raise UsageError(
                "--csv: expected different signs for decimal and thousands. "
                f"Received: {found['decimal']!r} for both.",
                hint="For example: --csv 'decimal=, thousands=.'.",
            )
        return cls(**found)


def _checked(key: str, value: str) -> Any:
    def bad(expected: str) -> UsageError:
        return UsageError(
            f"--csv {key}=: expected {expected}. Received: {value!r}.",
            hint="For example: --csv 'decimal=, thousands=.' or --csv header=no.",
        )

    if key == "decimal" and value not in (".", ","):
        raise bad("a point or a comma")
    if key == "thousands" and value not in (".", ",", " ", "'", ""):
        raise bad("a point, a comma, an apostrophe, space or none")
    if key == "delimiter" and len(value) != 1:
        raise bad("one character, tab or space")
    if key == "header" and value not in ("yes", "no") and not (value.isdigit() and int(value) > 0):
        raise bad("yes, no, or the number of a line, counting from 1")
    if key == "encoding":
        try:
            "".encode(value)
        except (LookupError, ValueError) as exc:
            raise bad("the name of an encoding, such as utf-8 or cp1252") from exc
    if key == "day-first":
        if value not in ("yes", "no"):
            raise bad("yes or no")
        return value == "yes"
    return value


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options of `Config` of the same names that bear on reading; see there.

    Attributes:
        label: The column that is predicted.
        columns: The only columns to use; all others when empty.
        exclude: Columns to leave out.
        number: Columns that are numbers, whatever they look like.
        category: Columns that are categories, whatever they look like.
        text: Columns of free text, whose words are learned from.
        csv: KEY=VALUE words about the file; see `Csv`.
        group: The column whose values stay on one side of the split.
        test_split: Share of the rows held out for testing when there is no test set.
        image_size: Height and width that images are resized to; as they are when empty.
        refuse_leakage: End when test rows also occur among the training rows.
        allow: Codes of findings that are accepted; see `job.data.findings`.
    """

    label: str | None = None
    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    number: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    csv: tuple[str, ...] = ()
    group: str | None = None
    test_split: float = 0.2
    image_size: tuple[int, ...] = ()
    refuse_leakage: bool = False
    allow: tuple[str, ...] = ()
    dialect: Csv = field(init=False, default=Csv())

    def __post_init__(self) -> None:
        object.__setattr__(self, "dialect", Csv.of(self.csv))

    def trimmed(self) -> "Reading":
        """The same with names as columns have them, without blanks around them."""
        lists = ("columns", "exclude", "number", "category", "text")
        names: dict[str, Any] = {
            key: tuple(name.strip() or name for name in getattr(self, key)) for key in lists
        }
        for key in ("label", "group"):
            value = getattr(self, key)
            names[key] = value and (value.strip() or value)
        return replace(self, **names)

    def named(self) -> frozenset[str]:
        """The columns that options name."""
        lists = (self.columns, self.exclude, self.number, self.category, self.text)
        names = {name for each in lists for name in each} | {self.label, self.group}
        return frozenset(name for name in names if name)

    @classmethod
    def of(cls, options: object) -> "Reading":
        """From anything that has attributes of these names, such as a Config."""
        return cls(
            **{
                f.name: getattr(options, f.name)
                for f in fields(cls)
                if f.init and hasattr(options, f.name)
            }
        )

    @classmethod
    def recorded(cls, config: Any) -> "Reading":
        """From the configuration that a manifest holds; what it lacks has its default."""
        known: dict[str, Any] = {
            f.name: config[f.name] for f in fields(cls) if config.get(f.name) is not None
        }
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in known.items()
        }
        return cls(**given)

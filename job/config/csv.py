"""The value of --csv: how a text file is written."""

from dataclasses import dataclass
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

"""job/commands/README.md, the contract: its tables are as the code has them."""

import ast
import re

import options_table
from documents import REPOSITORY, document

from job.cli import app
from job.errors import JobError

README = document(options_table.PATH)


def test_every_option_stands_there_as_it_is() -> None:
    assert options_table.shown() == options_table.tables(), (
        "run `uv run python tests/support/options_table.py`"
    )


def test_every_command_has_a_row() -> None:
    rows = " ".join(re.findall(r"^\| (`[a-z].+?) \| [a-z]", README.split("\n## ")[0], re.MULTILINE))
    assert set(re.findall(r"`([a-z]+)", rows)) == {
        command.name or command.callback.__name__ for command in app.registered_commands
    }


def test_exit_codes_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| (\S+) \| .+ \| (\S+) \|$", README, re.MULTILINE)
    errors = {str(e.exit_code): (e.__name__, e.rule or "–") for e in JobError.__subclasses__()}
    assert {code: (name, rule) for code, name, rule in rows} == {
        "0": ("–", "–"), "1": ("–", "Count"), **errors
    }  # fmt: skip


def test_events_are_those_of_the_code() -> None:
    table = README.split("\n## Events\n")[1]
    documented = set(
        re.findall(r"`([a-z_.]+)`", " ".join(re.findall(r"^\| (.+?) \|", table, re.M)))
    )
    assert documented == logged()


def logged() -> set[str]:
    """The names of all events, as calls of event(...) give them."""
    names = set()
    for path in (REPOSITORY / "job").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")) == "event"
            ):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    names.add(first.value)
    return names

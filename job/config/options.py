"""Typer options made from the fields of Config, so that each is written once."""

import dataclasses
import inspect
import shlex
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from job.config import BESIDE, Config, envvar, expect, flag

Command = TypeVar("Command", bound=Callable[..., Any])

PANELS = {
    "data": "Data",
    "test_data": "Data",
    "label": "Data",
    "columns": "Data",
    "exclude": "Data",
    "number": "Data",
    "category": "Data",
    "text": "Data",
    "csv": "Data",
    "allow": "Data",
    "group": "Data",
    "test_split": "Data",
    "image_size": "Data",
    "refuse_leakage": "Data",
    "cache": "Data",
    "validation_split": "Data",
    "store": "Publishing",
    "name": "Publishing",
    "run_id": "Publishing",
    "default_run_id": "Publishing",
    "resume_unfinished": "Publishing",
    "attempt": "Publishing",
    "skip_unchanged": "Publishing",
    "checkpoint_every": "Publishing",
    "store_timeout": "Publishing",
    "min_accuracy": "Gate",
    "min_recall": "Gate",
    "margin": "Gate",
    "confidence": "Gate",
    "rejection_ok": "Gate",
    "metrics_file": "Log",
    "log_format": "Log",
    "termination_log": "Log",
}
"""The help screen's panels; the rest is about training."""


METAVARS = {
    "hidden": "UNITS",
    "image_size": "PIXELS",
    "csv": "KEY=VALUE",
    "allow": "FINDING",
}
"""What the help screen calls a list's elements, if not NAMES."""

FIELDS = tuple(field.name for field in dataclasses.fields(Config))
MAKING = tuple(name for name in FIELDS if name not in BESIDE)
"""What makes the model, apart from the data and the device."""


def from_config(names: Iterable[str] = FIELDS) -> Callable[[Command], Command]:
    """Replaces a command's `**values` by one option for each of these fields of Config."""

    def replaced(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind != p.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=_annotation(name),
                default=config_option(name, rich_help_panel=PANELS.get(name, "Training")),
            )
            for name in names
        ]
        parameters = [*(p.replace(kind=p.KEYWORD_ONLY) for p in own), *options]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return replaced


def arguments(config: Config, names: Iterable[str]) -> list[str]:
    """Some fields of Config as a command line that says the same."""
    said = []
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool):
            said.append(flag(name) if value else f"--no-{flag(name).removeprefix('--')}")
        elif isinstance(value, tuple):
            said.append(f"{flag(name)}={shlex.join(map(str, value))}")
        elif value is not None:
            said.append(f"{flag(name)}={value}")
    return said


def config_option(name: str, **changes: Any) -> Any:
    """The Typer option of one field of Config: flag, environment variable, default and help.

    Args:
        name: The field.
        changes: What another command says otherwise, by Typer's names.
    """
    field = next(f for f in dataclasses.fields(Config) if f.name == name)
    names = [flag(name)]
    if _annotation(name) is bool:
        names = [f"{flag(name)}/--no-{flag(name).removeprefix('--')}"]
    default: Any = field.default
    is_list = isinstance(default, tuple)
    settings: dict[str, Any] = {
        "default": list(map(str, default)) if is_list else default,
        "envvar": envvar(name),
        "help": field.metadata["help"],
        "callback": _check(field, _words(name) if is_list else None),
        "metavar": METAVARS.get(name, "NAMES") if is_list else None,
        "show_default": (" ".join(map(str, default)) or False) if is_list else True,
        "show_envvar": False,
        **changes,
    }
    return typer.Option(settings.pop("default"), *names, **settings)


def _check(
    field: "dataclasses.Field[Any]", words: Callable[[list[str]], Any] | None
) -> Callable[[Any], Any]:
    """Reads a list's words, and holds a value to its field's range even where no Config is made."""

    def checked(value: Any) -> Any:
        read = value if words is None else words(value)
        expect(field, read)
        return read

    return checked


def _annotation(name: str) -> Any:
    hint = get_type_hints(Config)[name]
    return list[str] if get_origin(hint) is tuple else hint


def _words(name: str) -> Callable[[list[str]], tuple[Any, ...]]:
    element, *_ = get_args(get_type_hints(Config)[name])
    return _whole_numbers if element is int else _names


def _names(values: list[str]) -> tuple[str, ...]:
    """Reads "age 'marital status'", given at once or one option after the other."""
    said = " ".join(values)  # which also joins what was split at the blanks of a variable
    try:
        return tuple(shlex.split(said))
    except ValueError as exc:
        raise typer.BadParameter(
            "expected names separated by spaces, in quotes if they hold one. "
            f"Received: {said!r} ({exc})."
        ) from None


def _whole_numbers(values: list[str]) -> tuple[int, ...]:
    """Reads "350 50", given at once or one option after the other."""
    said = " ".join(values)
    try:
        return tuple(int(word) for word in said.split())
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers separated by spaces, such as '350 50'. Received: {said!r}."
        ) from None

"""Typer options made from the fields of Config, so that each is written once."""

import inspect
import shlex
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, get_args, get_origin

import typer

from job.config import GROUP_OF, OPTIONS, Config, Option, envvar, flag

Command = TypeVar("Command", bound=Callable[..., Any])


def from_config(names: Iterable[str] = OPTIONS) -> Callable[[Command], Command]:
    """Replaces a command's `**values`, and what it names of them, by options of Config."""
    wanted = tuple(names)

    def replaced(command: Command) -> Command:
        given = inspect.signature(command).parameters.values()
        own = [p for p in given if p.kind != p.VAR_KEYWORD and p.name not in wanted]
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=list[str] if _is_list(OPTIONS[name]) else OPTIONS[name].annotation,
                default=config_option(name, rich_help_panel=_panel(name)),
            )
            for name in sorted(wanted, key=lambda name: not OPTIONS[name].everyday)
        ]
        parameters = [*(p.replace(kind=p.KEYWORD_ONLY) for p in own), *options]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return replaced


def arguments(config: Config, names: Iterable[str]) -> list[str]:
    """Some options of a Config as the command line that gives them."""
    words = []
    flat = config.flat()
    for name in names:
        value = flat[name]
        if isinstance(value, bool):
            words.append(flag(name) if value else _no(name))
        elif isinstance(value, tuple):
            words.append(f"{flag(name)}={shlex.join(map(str, value))}")
        elif value is not None:
            words.append(f"{flag(name)}={value}")
    return words


def config_option(name: str, **changes: Any) -> Any:
    """The Typer option for one of Config: flag, environment variable, default, check and help.

    Args:
        name: The option.
        changes: What differs in this command, by Typer's names.
    """
    option = OPTIONS[name]
    is_list = _is_list(option)
    default: Any = option.default
    if isinstance(default, tuple):
        default = list(map(str, default))
    settings: dict[str, Any] = {
        "default": default,
        "envvar": envvar(name),
        "help": option.help,
        "callback": _check(option),
        "metavar": option.metavar if is_list else None,
        "show_default": (" ".join(default or ()) or False) if is_list else True,
        "show_envvar": False,
        **changes,
    }
    names = [f"{flag(name)}/{_no(name)}" if option.annotation is bool else flag(name)]
    return typer.Option(settings.pop("default"), *names, **settings)


def _panel(name: str) -> str | None:
    """The everyday options stand in the first panel, the others in one for each group."""
    return None if OPTIONS[name].everyday else GROUP_OF[name].capitalize()


def _no(name: str) -> str:
    return f"--no-{flag(name).removeprefix('--')}"


def _is_list(option: Option) -> bool:
    return _element(option) is not None


def _element(option: Option) -> Any:
    """The type of a list's elements; None for an option that is no list."""
    kinds = [option.annotation, *get_args(option.annotation)]
    return next((get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple), None)


def _check(option: Option) -> Callable[[Any], Any]:
    """Reads a list's words, and holds a value to its range even where no Config is made."""
    words: Callable[[Any], Any] = lambda value: value  # noqa: E731
    if _is_list(option):
        words = _whole_numbers if _element(option) is int else _names

    def checked(value: Any) -> Any:
        unset = value is None or (value == [] and option.takes_none)
        read = None if unset else words(value)
        option.check(read)
        return read

    return checked


def _names(values: list[str]) -> tuple[str, ...]:
    """Reads "age 'marital status'", given at once or one option after the other."""
    given = " ".join(values)  # which also joins what was split at the blanks of a variable
    try:
        return tuple(shlex.split(given))
    except ValueError as exc:
        raise typer.BadParameter(
            "expected names separated by spaces, in quotes if they hold one. "
            f"Received: {given!r} ({exc})."
        ) from None


def _whole_numbers(values: list[str]) -> tuple[int, ...]:
    """Reads "350 50", given at once or one option after the other."""
    given = " ".join(values)
    try:
        return tuple(int(word) for word in given.split())
    except ValueError:
        raise typer.BadParameter(
            f"expected whole numbers separated by spaces, such as '350 50'. Received: {given!r}."
        ) from None

"""One option of the configuration: default, help sentence, check, and how old manifests read."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from job.errors import UsageError

AT_LEAST_1: dict[str, Any] = {"expects": "a whole number of at least 1", "valid": lambda v: v >= 1}
"""The check of a count."""

SAME: Any = object()
"""Stands for the default."""


def option(
    default: Any,
    help: str,  # noqa: A002
    *,
    expects: str = "",
    valid: Callable[[Any], bool] | None = None,
    recorded: Any = SAME,
    makes_model: bool = True,
    everyday: bool = False,
    metavar: str = "NAMES",
) -> Any:
    """A field of an options group; the field's name is the flag and the environment variable.

    Args:
        default: The value when neither flag nor environment gives one.
        help: The help text and the row in job/commands/README.md; one sentence.
        expects: What a valid value is, in words; for the error message.
        valid: True for a valid value; never asked about None.
        recorded: How versions of this program behaved that did not have the option; needed
            only when that is not the default. It never changes, whatever the default becomes.
        makes_model: Whether the model depends on it; ignored outside data, model and training.
        everyday: Whether `train --help` shows it among the first.
        metavar: What the help calls the elements of a list.
    """
    metadata = {
        "help": help,
        "expects": expects,
        "valid": valid,
        "recorded": default if recorded is SAME else recorded,
        "makes_model": makes_model,
        "everyday": everyday,
        "metavar": metavar,
    }
    return dataclasses.field(default=default, metadata=metadata)


class Options:
    """A group of options: every value is checked when the group is made.

    Raises:
        UsageError: A value is out of its range.
    """

    def __post_init__(self) -> None:
        for name, each in described(type(self)).items():
            each.check(getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Option:
    """A field of an options group, described; see `option`.

    Attributes:
        annotation: Its type.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    expects: str
    valid: Callable[[Any], bool] | None
    recorded: Any
    makes_model: bool
    everyday: bool
    metavar: str

    @property
    def takes_none(self) -> bool:
        """Whether None is one of its values."""
        return type(None) in get_args(self.annotation)

    def check(self, value: Any) -> None:
        """Raises UsageError for a value out of the option's range."""
        if value is not None and self.valid is not None and not self.valid(value):
            raise UsageError(
                f"{flag(self.name)}: expected {self.expects}. Received: {value!r}.",
                hint="`mlp-job COMMAND --help` lists the options.",
            )


def described(group: type) -> Mapping[str, Option]:
    """The options of a group, by name."""
    hints = get_type_hints(group)
    return {
        field.name: Option(
            name=field.name,
            annotation=hints[field.name],
            default=field.default,
            **field.metadata,
        )
        for field in dataclasses.fields(group)
    }


def flag(name: str) -> str:
    """The command-line spelling of an option."""
    return "--" + name.replace("_", "-")


def envvar(name: str) -> str:
    """The environment variable of an option."""
    return "MLP_JOB_" + name.upper()

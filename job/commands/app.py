"""The Typer app that every command registers with, and the parameters that commands share."""

import getpass
import importlib
import os
import pkgutil
import socket
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from job import __version__
from job.config import DEFAULT_NAME, DataOptions, PublishingOptions
from job.errors import UsageError

TRAIN, USE, VERSIONS = "Train", "Use a version", "Look after versions"
"""The panels of `mlp-job --help`, in their order."""

STORE = ("store", "name")
"""The options that lead to the versions of a model; see `versions_of`."""

WRITING = (*STORE, "upload_header")
"""The same for a command that writes to the store."""

READING = ("requester_pays", "unsigned_data")
"""The options of a command that reads data which may lie in S3; see `read_with`."""

Ref = Annotated[str, typer.Argument(help="A version number, champion or latest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the champion pointer's history.")]

app = typer.Typer(
    help="Train, evaluate and publish a Keras classifier.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def load() -> typer.Typer:
    """Imports every command, so that it registers itself; sorts by panel, `train` first."""
    package = importlib.import_module("job.commands")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"job.commands.{module.name}")
    panels: Sequence[Any] = (TRAIN, USE, VERSIONS)
    app.registered_commands.sort(
        key=lambda each: (panels.index(each.rich_help_panel), each.name != "train")
    )
    return app


def example(*lines: str) -> str:
    """The end of a command's help: what to type."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def versions_of(*, store: str, name: str | None, upload_header: tuple[str, ...] = ()) -> Any:
    """The versions of the named model; the headers are those of what is written there."""
    from job.registry import Versions
    from job.storage import Access, open_store, use

    if upload_header:
        use(Access.of(publishing=PublishingOptions(store=store, upload_header=upload_header)))
    return Versions(open_store(store), name or DEFAULT_NAME)


def read_with(data: str, test_data: str | None = None, **access: Any) -> None:
    """Sets how a command reads its data from S3, by the options of READING."""
    from job.storage import Access, use

    use(Access.of(DataOptions(data=data, test_data=test_data, **access)))


@app.callback(
    invoke_without_command=True,
    epilog=example("mlp-job train", "mlp-job data churn.csv --label churned"),
)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise UsageError(
            "Expected a command. Received: none.", hint="`mlp-job train` is the main job."
        )


def person() -> str:
    """Who runs a command: the user and the host, for the pointer's history."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"

"""The commands on published versions: look at them, choose the champion, clean up."""

from typing import Annotated, Any

import typer

from job.config import DEFAULT_NAME, PublishingOptions
from job.config.options import config_option
from job.errors import DataError, DataNotFound

Ref = Annotated[str, typer.Argument(help="A version number, champion or latest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the champion pointer's history.")]


def registry_of(store: str, name: str | None, upload_header: list[str] | None = None) -> Any:
    """The versions of the named model; the headers are those of what is written there."""
    from job.registry import Registry
    from job.storage import Access, open_store, use

    if upload_header:
        options = PublishingOptions(store=store, upload_header=tuple(upload_header))
        use(Access.of(publishing=options))
    return Registry(open_store(store), name or DEFAULT_NAME)


def models(
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    as_json: AsJson = False,
) -> None:
    """List versions with age, accuracy, data and verdict, and which one is champion."""
    from job.commands import show_versions
    from job.registry import Registry, names
    from job.storage import open_store

    opened = open_store(store)
    try:
        wanted = [name] if name else names(opened)
        listed = {each: Registry(opened, each).versions() for each in wanted}
        there = [] if any(listed.values()) else names(opened)
    except DataNotFound as exc:
        raise DataNotFound(
            exc.message,
            hint="Correct --store. `mlp-job train` makes a folder; a bucket must be there.",
        ) from exc
    others = [each for each in there if each not in listed]
    show_versions.models(listed, opened.uri, others, as_json=as_json)


def compare(
    left: Annotated[str, typer.Argument(metavar="A", help="A version number, champion or latest.")],
    right: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    as_json: AsJson = False,
) -> None:
    """Show two versions side by side: configuration, data, metrics, per class."""
    from job.commands import compare, show_versions

    registry = registry_of(store, name)
    sides = [compare.read(registry, ref) for ref in (left, right)]
    title = (f"version {sides[0].manifest.version}", f"version {sides[1].manifest.version}")
    show_versions.comparison(title, compare.lines(*sides), as_json=as_json)


def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only show.")] = False,
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    upload_header: list[str] = config_option("upload_header"),
    as_json: AsJson = False,
) -> None:
    """Remove old versions, but never a champion, its predecessor or what the gate needs."""
    from job.commands import show_versions
    from job.registry import prune

    registry = registry_of(store, name, upload_header)
    decided = prune.plan(registry, keep)
    versioned = prune.carry_out(registry, decided) if yes else False
    show_versions.pruning(decided, removed=yes, versioned=versioned, as_json=as_json)


def promote(
    ref: Ref,
    reason: Reason = "",
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    upload_header: list[str] = config_option("upload_header"),
) -> None:
    """Make a version the champion, by hand."""
    registry = registry_of(store, name, upload_header)
    before = registry.champion()
    moved = registry.promote(ref, reason=reason)
    if before and before.version == moved.after:
        print(f"champion: {moved.after}, as it was")
        return
    print(f"champion: {moved.before or 'none'} → {moved.after}")


def rollback(
    reason: Reason = "",
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    upload_header: list[str] = config_option("upload_header"),
) -> None:
    """Make the previous champion the champion again; it works when all else is broken."""
    moved = registry_of(store, name, upload_header).rollback(reason=reason)
    print(f"champion: {moved.before} → {moved.after}")


def verify(
    ref: Ref,
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    as_json: AsJson = False,
) -> None:
    """Hash every file of a version again and compare it with the manifest."""
    from job.commands import show

    result = registry_of(store, name).verify(ref)
    show.verification(result, as_json=as_json)
    if result.damaged:
        raise DataError(
            f"Expected version {result.version} as it was published. "
            f"Received: {len(result.damaged)} of {len(result.files)} files damaged or missing.",
            hint="Roll back, or train again.",
        )


def reproduce(
    ref: Ref,
    store: str = config_option("store"),
    name: str | None = config_option("name"),
    device: Any = config_option("device"),
    as_json: AsJson = False,
) -> None:
    """Train a version again from its manifest, and compare the two; nothing is published."""
    from job.commands import reproduce, show

    result = reproduce.reproduce(registry_of(store, name), ref, device)
    show.reproduction(result, as_json=as_json)
    if not result.expected:
        raise DataError(
            f"Version {result.version}: expected "
            + ("an accuracy in its interval" if result.differences else "the same bits")
            + f". Received: accuracy {result.accuracy:.4f}, and other weights.",
            hint="Is the data's order the same, and was the device busy with something else?",
        )


COMMANDS = (models, compare, prune, promote, rollback, verify, reproduce)

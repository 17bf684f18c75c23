"""prune: removes old versions."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from job.commands.app import VERSIONS, WRITING, AsJson, app, example, versions_of
from job.config.options import from_config

if TYPE_CHECKING:
    from job.registry.prune import Plan


@app.command(
    rich_help_panel=VERSIONS,
    epilog=example(
        "mlp-job prune --keep 20 --name churn", "mlp-job prune --keep 20 --name churn --yes"
    ),
)
@from_config(WRITING)
def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only show.")] = False,
    as_json: AsJson = False,
    **store: Any,
) -> None:
    """Remove old versions, but never a champion, its predecessor or what the gate needs."""
    from job.registry.prune import carry_out, plan

    versions = versions_of(**store)
    decided = plan(versions, keep)
    versioned = carry_out(versions, decided) if yes else False
    _show(decided, removed=yes, versioned=versioned, as_json=as_json)


def _show(decided: "Plan", *, removed: bool, versioned: bool, as_json: bool) -> None:
    """What goes, and what stays why; and whether a versioned bucket keeps the bytes."""
    from job.commands.show import put, put_json, table

    if as_json:
        kept = {str(version): why for version, why in sorted(decided.kept.items())}
        about = {"removed": removed, "doomed": list(decided.doomed), "kept": kept}
        put_json(about | {"versioned": versioned})
        return
    rows = table(">version", "", "")
    for version in sorted({*decided.doomed, *decided.kept}):
        word = "removed" if removed else "would be removed"
        doomed = version in decided.doomed
        rows.add_row(str(version), f"[red]{word}" if doomed else "kept", decided.kept.get(version))
    put(rows)
    if decided.doomed and not removed:
        print("Nothing was removed; --yes removes.")
    if versioned:
        print(
            "The bucket is versioned: it has delete markers now, and still keeps the bytes. A "
            "lifecycle rule on noncurrent versions frees the space (job/storage/README.md)."
        )

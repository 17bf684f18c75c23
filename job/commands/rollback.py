"""rollback: the previous champion becomes champion again."""

from typing import Any

from job.commands.app import VERSIONS, WRITING, Reason, app, example, person, versions_of
from job.config.options import from_config


@app.command(
    rich_help_panel=VERSIONS,
    epilog=example("mlp-job rollback --name churn --reason 'complaints about version 7'"),
)
@from_config(WRITING)
def rollback(reason: Reason = "", **store: Any) -> None:
    """Make the previous champion the champion again; it works when all else is broken."""
    from job.registry import promotion

    moved = promotion.rollback(
        versions_of(**store), reason=reason or promotion.BY_HAND, actor=person()
    )
    print(f"champion: {moved.before} → {moved.after}")

"""promote: a version becomes champion by hand."""

from typing import Any

from job.commands.app import VERSIONS, WRITING, Reason, Ref, app, example, person, versions_of
from job.config.options import from_config


@app.command(
    rich_help_panel=VERSIONS,
    epilog=example("mlp-job promote 7 --name churn --reason 'checked by hand'"),
)
@from_config(WRITING)
def promote(ref: Ref, reason: Reason = "", **store: Any) -> None:
    """Make a version the champion, by hand."""
    from job.registry import promotion

    versions = versions_of(**store)
    before = versions.champion()
    moved = promotion.promote(versions, ref, reason=reason or promotion.BY_HAND, actor=person())
    if before and before.version == moved.after:
        print(f"champion: {moved.after}, as it was")
        return
    print(f"champion: {moved.before or 'none'} → {moved.after}")

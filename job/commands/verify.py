"""verify: hashes every file of a version again."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job.commands.app import STORE, VERSIONS, AsJson, Ref, app, example, versions_of
from job.config.options import from_config
from job.errors import DataError

if TYPE_CHECKING:
    from job.registry import Verification


@app.command(rich_help_panel=VERSIONS, epilog=example("mlp-job verify champion --name churn"))
@from_config(STORE)
def verify(ref: Ref, as_json: AsJson = False, **store: Any) -> None:
    """Hash every file of a version again and compare it with the manifest."""
    result = versions_of(**store).verify(ref)
    _show(result, as_json=as_json)
    if result.damaged:
        raise DataError(
            f"Expected version {result.version} as it was published. "
            f"Received: {len(result.damaged)} of {len(result.files)} files damaged or missing.",
            hint="Roll back, or train again.",
        )


def _show(result: "Verification", *, as_json: bool) -> None:
    from rich.filesize import decimal

    from job.commands.show import put, put_json, safe, table

    if as_json:
        put_json({"version": result.version, "files": [asdict(file) for file in result.files]})
        return
    rows = table("", "file", ">size", "found")
    for file in result.files:
        mark = "[red]✗" if file.problem else "[green]✓"
        rows.add_row(mark, safe(file.path), decimal(file.size), file.problem or "as published")
    put(rows)

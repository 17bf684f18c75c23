"""doctor: proves device, scratch disk, data and store."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from job.commands.app import TRAIN, WRITING, AsJson, app, example
from job.config import GROUP_OF, MODEL_OPTIONS, Config
from job.config.options import from_config

if TYPE_CHECKING:
    from job.commands.doctor.checks import Check

OPTIONS = dict.fromkeys(
    (
        *(name for name, group in GROUP_OF.items() if group == "data"),
        *(*WRITING, "device", "devices"),
        *MODEL_OPTIONS,
    )
)


@app.command(
    rich_help_panel=TRAIN,
    epilog=example(
        "mlp-job doctor", "mlp-job doctor --data churn.csv --label churned --name churn --resume"
    ),
)
@from_config(OPTIONS)
def doctor(
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Prove that a killed and resumed run ends with the same bits here."
        ),
    ] = False,
    as_json: AsJson = False,
    **values: Any,
) -> None:
    """Prove GPU, driver, disk, data and store before GPU time is spent."""
    from job.commands.doctor import checks

    done = checks.run(Config.of(**values), resume=resume)
    _show(done, as_json=as_json)
    for check in done:
        if check.error:
            raise check.error


def _show(checks: Sequence["Check"], *, as_json: bool) -> None:
    from job.commands.show import put, put_json, safe, table

    if as_json:
        put_json(
            {"checks": [{"name": c.name, "ok": not c.error, "found": c.found} for c in checks]}
        )
        return
    rows = table("", "check", "found")
    for check in checks:
        hint = f"\n→ {safe(check.error.hint)}" if check.error and check.error.hint else ""
        mark = "[red]✗" if check.error else "[green]✓"
        rows.add_row(mark, check.name, safe(check.found) + hint)
    put(rows)

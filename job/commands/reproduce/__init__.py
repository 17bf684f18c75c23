"""reproduce: trains a version again from its manifest."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from job.commands.app import STORE, VERSIONS, AsJson, Ref, app, example, versions_of
from job.config.options import from_config
from job.errors import DataError

if TYPE_CHECKING:
    from job.commands.reproduce.reproduction import Reproduction


@app.command(rich_help_panel=VERSIONS, epilog=example("mlp-job reproduce champion --name churn"))
@from_config((*STORE, "device"))
def reproduce(ref: Ref, as_json: AsJson = False, *, device: Any, **store: Any) -> None:
    """Train a version again from its manifest, and compare the two; nothing is published."""
    from job.commands.reproduce import reproduction

    result = reproduction.reproduce(versions_of(**store), ref, device)
    _show(result, as_json=as_json)
    if not result.expected:
        raise DataError(
            f"Version {result.version}: expected "
            + ("the same bits" if result.wants_bits else "an accuracy in its interval")
            + f". Received: accuracy {result.accuracy:.4f}, and other weights.",
            hint="Is the data's order the same, and was the device busy with something else?",
        )


def _show(result: "Reproduction", *, as_json: bool) -> None:
    from job.commands.show import put, put_json, safe, table

    if as_json:
        put_json({**asdict(result), "same_accuracy": result.same_accuracy})
        return
    low, high = result.interval
    print(
        f"version {result.version}: "
        + ("the same bits" if result.same_bits else "not the same bits")
        + f"; accuracy {result.accuracy:.4f}, published {result.published_accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f})"
    )
    if result.differences:
        rows = table("", "then", "now")
        for name, (then, now) in result.differences.items():
            rows.add_row(*(safe(text) for text in (name, then, now)))
        put(rows)

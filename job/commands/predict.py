"""predict: classes and probabilities of new rows."""

from typing import Annotated, Any

import typer

from job.commands.app import READING, STORE, USE, Ref, app, example, read_with, versions_of
from job.config.options import from_config
from job.process import log


@app.command(
    rich_help_panel=USE,
    epilog=example("mlp-job predict champion new.csv -o predictions.csv --name churn"),
)
@from_config(("keep", *READING, *STORE))
def predict(
    ref: Ref,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="New rows: IDX, .npy, .npz, .csv, .parquet, .jsonl or images; or s3://.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help=".csv, .parquet or .jsonl.")
    ],
    *,
    keep: tuple[str, ...],
    requester_pays: bool,
    unsigned_data: bool,
    **store: Any,
) -> None:
    """Write the class and the probabilities of new rows, streamed."""
    from job import events
    from job.inference import scoring

    versions = versions_of(**store)  # before `read_with`: the store is read with credentials
    read_with(rows, requester_pays=requester_pays, unsigned_data=unsigned_data)
    warn = events.data_warned
    count = scoring.predict(versions, ref, rows, output, keep=tuple(keep), warn=warn)
    log.event("predicted", f"{count:,} rows written to {output}", rows=count, output=output)

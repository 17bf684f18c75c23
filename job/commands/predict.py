"""predict: classes and probabilities of new rows, of one file or of each of many."""

import os
from typing import Annotated, Any

import typer

from job.commands.app import READING, STORE, USE, Ref, app, example, read_with, versions_of
from job.config.options import config_option, from_config
from job.device.topology import completion_index
from job.errors import UsageError
from job.process import log


@app.command(
    rich_help_panel=USE,
    epilog=example(
        "mlp-job predict champion new.csv -o predictions.csv --name churn",
        "mlp-job predict champion s3://new/today -o 's3://said/{version}/{file}.csv' --name churn",
    ),
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
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help=".csv, .parquet or .jsonl. With {file} in it, each file of INPUT has an output of "
            "its own, under its path there; {version} is the version's number.",
        ),
    ],
    *,
    hosts: int | None = config_option(
        "hosts",
        help="How many pods of an Indexed Job share the files of INPUT; needs {file} in OUT.",
        rich_help_panel=None,
    ),
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
    if "{file}" in output:
        index = completion_index(hosts, os.environ) if hosts and hosts > 1 else 0
        share = slice(index, None, hosts)
        said = scoring.predict_each(
            versions, ref, rows, output, share=share, keep=tuple(keep), warn=warn
        )
        log.event(
            "predicted",
            f"{said.rows:,} rows of {said.files} files written to {output}; "
            f"{said.there} others were there already.",
            output=output,
            **vars(said),
        )
        return
    if hosts and hosts > 1:
        raise UsageError(
            f"--output: expected {{file}} in it, so that {hosts} hosts share the files of INPUT. "
            f"Received: {output!r}.",
            hint="For example -o 'out/{file}.csv'; or leave --hosts out.",
        )
    count = scoring.predict(versions, ref, rows, output, keep=tuple(keep), warn=warn)
    log.event("predicted", f"{count:,} rows written to {output}", rows=count, output=output)

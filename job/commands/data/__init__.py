"""data: what the job sees in a data set."""

from typing import Annotated, Any

import typer

from job.commands.app import STORE, TRAIN, AsJson, app, example, versions_of
from job.config import DEFAULT_NAME, GROUP_OF, Config
from job.config.options import from_config

READ = (
    *(name for name, group in GROUP_OF.items() if group == "data" and name != "data"),
    *("model", "members"),  # which decide on the rows for validation
    *STORE,
)
"""The options of `train` that decide how it reads its data."""


@app.command(
    "data",
    rich_help_panel=TRAIN,
    epilog=example(
        "mlp-job data churn.csv --label churned",
        "mlp-job data churn.csv --label churned --name churn",
        "mlp-job data s3://bucket/images/",
    ),
)
@from_config(READ)
def inspect_data(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As --data of train.")],
    every: Annotated[
        bool, typer.Option("--all", help="Read all rows of a table that is larger than memory.")
    ] = False,
    as_json: AsJson = False,
    **values: Any,
) -> None:
    """Print what `train` would see: rows, columns, classes, missing values, problems.

    With --name it reads the data as the next version of that model would. Of a table that is
    larger than memory it shows a sample, and says so.
    """
    from job.commands.data import inspection, show
    from job.process.scratch import scratch
    from job.storage import Access, use

    name = values["name"]
    config = Config.of(**values | {"data": data, "name": name or DEFAULT_NAME})
    use(Access.of(config.data))
    versions = versions_of(store=values["store"], name=name) if name else None
    with scratch() as folder:
        seen = inspection.inspect(config, versions, folder, every=every)
    show.inspection(seen, as_json=as_json)
    if seen.error:
        raise seen.error

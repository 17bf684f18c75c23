"""data: what the job sees in a data set."""

from pathlib import Path
from typing import Annotated, Any

import typer

from job.commands.app import TRAIN, AsJson, app, example
from job.config import GROUP_OF, DataOptions
from job.config.options import from_config


@app.command(
    "data",
    rich_help_panel=TRAIN,
    epilog=example("mlp-job data churn.csv --label churned", "mlp-job data s3://bucket/images/"),
)
@from_config(name for name, group in GROUP_OF.items() if group == "data" and name != "data")
def inspect_data(
    data: Annotated[str, typer.Argument(metavar="DATA", help="As --data of train.")],
    as_json: AsJson = False,
    **values: Any,
) -> None:
    """Print what the job sees: rows, columns, classes, missing values, problems."""
    from job.commands.data import inspection, show
    from job.process.scratch import scratch
    from job.storage import Access, use

    reading = DataOptions(data=data, **values)
    use(Access.of(reading))
    with scratch() as folder:
        seen = inspection.inspect(
            data,
            test_uri=reading.test_data,
            reading=reading,
            scratch=Path(reading.cache) if reading.cache else folder,
        )
    show.inspection(seen, as_json=as_json)
    if seen.error:
        raise seen.error

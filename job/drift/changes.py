"""Schema changes between the champion's data and the data of this run."""

from job.data.dataset import Dataset
from job.data.schema import changes
from job.registry.manifest import Manifest


def since(champion: Manifest | None, dataset: Dataset) -> tuple[str, ...]:
    """What differs in a table's columns from those of the champion's data; empty for no table."""
    if champion is None or champion.schema is None or dataset.table is None:
        return ()
    return changes(champion.schema, dataset.table.schema)

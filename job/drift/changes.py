"""Schema changes between the champion's data and the data of this run."""

from job.data.dataset import Dataset
from job.data.schema import changes
from job.errors import DataError, DataNotFound
from job.registry import Versions


def since_champion(versions: Versions, dataset: Dataset) -> tuple[int, tuple[str, ...]]:
    """What differs in a table's columns from those of the champion's data.

    Returns:
        The champion's version and the changes; 0 and none where there is nothing to compare.
    """
    if dataset.table is None:
        return 0, ()
    try:
        champion = versions.resolve("champion")
    except (DataError, DataNotFound):
        return 0, ()  # none yet, or a damaged one, which `verify` reports
    if champion.schema is None:
        return 0, ()
    return champion.version, changes(champion.schema, dataset.table.schema)

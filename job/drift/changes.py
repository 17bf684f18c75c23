"""Tonight's columns against the champion's: what has changed is told before training."""

from typing import TYPE_CHECKING

from job import events
from job.data.dataset import Dataset
from job.data.schema import changes
from job.errors import DataError, DataNotFound

if TYPE_CHECKING:
    from job.registry import Registry


def tell(registry: "Registry", dataset: Dataset) -> None:
    """Logs what the champion's columns were, where it differs; a table's only."""
    if dataset.table is None:
        return
    try:
        champion = registry.resolve("champion")
    except (DataError, DataNotFound):
        return  # none yet, or a damaged one, which is for `verify` to say
    if champion.schema:
        said = changes(champion.schema, dataset.table.schema)
        if said:
            events.data_changed(champion.version, said)

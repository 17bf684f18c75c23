"""inspect(...): what the job sees in a data set, without training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from job.config import Config, DataOptions
from job.data import sizing
from job.data.dataset import Dataset
from job.data.files.listing import Found, find, is_table
from job.data.findings import Finding, sentence
from job.data.place import MEMORY, Place
from job.data.schema import Parsing, Schema
from job.drift import changes
from job.errors import DataError
from job.experiment import inherited, read
from job.registry import Versions

KINDS = {"int64": "whole number", "double": "number", "bool": "boolean"}
"""What is in a column, by its type in Arrow."""

SAMPLE_FILES, SAMPLE_ROWS = 8, 200_000
"""What is read of a table that does not fit into memory."""

SAMPLES = 5
"""First values of each column that are shown."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One column of a table.

    Attributes:
        name: Its name.
        kind: number, category, boolean, label, group, or why it is left out.
        missing: Values that are missing, of all rows.
        distinct: Different values.
        samples: The first values, as text.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    samples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A data set at a glance.

    Attributes:
        uri: As the user wrote it.
        rows: Rows by what they are for; only "all" when the label is not known, and only
            "sample" when they are some of the rows.
        input: What the model would take: a shape and a dtype; empty for a table.
        held_out: Whether a hash held the test rows out.
        columns: Of a table.
        classes: Label → training rows, in the order of the model's outputs.
        problems: What is worth a word.
        error: What would end a training, or None.
    """

    uri: str
    rows: Mapping[str, int]
    input: str = ""
    held_out: bool = False
    columns: tuple[Seen, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    error: DataError | None = None


def inspect(
    config: Config, versions: Versions | None, scratch: Path, *, every: bool = True
) -> Inspection:
    """Reads a data set as training would.

    Args:
        config: The options; a table's label may be left out.
        versions: The earlier versions of the model, whose split a training would inherit.
        scratch: Where files from S3 are put.
        every: Read all rows of a table that does not fit into memory; else a sample of them.

    Raises:
        DataError: Nothing of it can be shown; what else is wrong stands in the result.
        UsageError, DataNotFound, AccessDenied, StoreError: As `data.load`.
    """
    uri, reading = config.data.data, config.data
    scratch = Path(reading.cache) if reading.cache else scratch
    found = None if uri == "mnist" else find(uri, scratch)
    tabular = found is not None and is_table(found, reading.label)
    if found and tabular and not every and sizing.of(reading, found).streamed:
        some = _sample(found, reading.trimmed())
        if some:
            return some
    dataset: Dataset | None = None
    error = None
    if not tabular or reading.label is not None:
        try:
            recipe = inherited(versions) if versions else None
            dataset = read(config, scratch, recipe=recipe)
        except DataError as exc:
            if not tabular:
                raise
            error = exc
    tabular = tabular and (dataset is None or dataset.table is not None)  # else it names images
    columns, total, problems = (
        ((), 0, ()) if not tabular else _columns(uri, reading, scratch, dataset)
    )
    if dataset is None:
        return Inspection(
            uri=uri, rows={"all": total}, columns=columns, problems=problems, error=error
        )
    counts = np.bincount(dataset.train.y, minlength=len(dataset.classes))
    shape = "×".join(map(str, dataset.shape))
    return Inspection(
        uri=uri,
        rows={"train": len(dataset.train), "test": len(dataset.test)},
        input="" if tabular else f"{shape} {dataset.dtype}",
        held_out=dataset.held_out_of is not None,
        columns=columns,
        classes={str(c): int(n) for c, n in zip(dataset.classes, counts, strict=True)},
        problems=(*dataset.warnings, *_since_champion(versions, dataset)),
    )


def _sample(found: Found, reading: DataOptions) -> Inspection | None:
    """The first rows of some files of a table; None when these are all that there is."""
    import pyarrow as pa

    from job.data.table import reader
    from job.data.table.frame import Part, joined

    keys = found.tables[:: -(-len(found.tables) // SAMPLE_FILES)]
    whole, parts, most = len(keys) == len(found.tables), [], SAMPLE_ROWS // len(keys)
    with reader.arrow_errors(found.uri):
        for key, path, name in zip(keys, found.sources(keys), found.names(keys), strict=True):
            blocks, rows, told = [], 0, list[Finding]()
            for block, *_, odd in reader.batches(key, path, name, reading.dialect, reading.named()):
                blocks.append(block.slice(0, most - rows))
                told += odd
                rows += len(block)
                if rows > most:
                    whole = False
                    break
            parts.append(Part(name=name, table=pa.concat_tables(blocks), findings=tuple(told)))
        if whole:
            return None
        frame = joined(found.uri, parts)
        columns, total, problems = _seen(frame, reading, None, MEMORY)
    files = f"{len(keys):,} of {len(found.tables):,} files" if len(found.tables) > 1 else "the file"
    note = (
        f"A sample, since the table may not fit into memory: the first rows of {files}. All "
        "figures are of these rows. --all reads all, and shows the split and the classes."
    )
    return Inspection(
        uri=found.uri, rows={"sample": total}, columns=columns, problems=(note, *problems)
    )


def _since_champion(versions: Versions | None, dataset: Dataset) -> tuple[str, ...]:
    """What differs from the champion's columns, in a sentence if anything does."""
    if versions is None:
        return ()
    version, changed = changes.since_champion(versions, dataset)
    return (f"Since version {version}: {'; '.join(changed)}.",) if changed else ()


def _columns(
    uri: str, reading: DataOptions, scratch: Path, dataset: Dataset | None
) -> tuple[tuple[Seen, ...], int, tuple[str, ...]]:
    from job.data.table import reader

    schema = dataset.table.schema if dataset and dataset.table else None
    reading = reading.trimmed()
    with reader.arrow_errors(uri):
        found = find(uri, scratch)
        place = sizing.place(sizing.of(reading, found), uri, reading.cache)
        frame = reader.read(found, reading.dialect, reading.named(), place)
        return _seen(frame, reading, schema, place)


def _seen(
    frame: Any, reading: DataOptions, schema: Schema | None, place: Place
) -> tuple[tuple[Seen, ...], int, tuple[str, ...]]:
    """The columns of a frame, its rows, and what is odd about it."""
    from job.data.table import fit, kinds
    from job.data.table import load as table

    decided = {column.name: column.kind for column in schema.columns} if schema else {}
    typed = table.interpret(frame, tuple(frame.columns), reading, place)
    seen, findings = [], list(frame.findings)
    for name, raw in frame.columns.items():
        array = typed[name].array
        if not schema and name not in (reading.label, reading.group):
            findings += typed[name].findings
        kind = decided.get(name, "left out") if schema else _kind(array.type)
        if name == reading.label:
            kind = "label"
            array = kinds.as_text(raw, Parsing(missing=reading.dialect.missing, trimmed=True))
        elif name == reading.group:
            kind = "group"
        seen.append(
            Seen(
                name=name,
                kind=kind,
                missing=array.null_count,
                distinct=fit.distinct(array.drop_null(), place),
                samples=tuple(_text(value) for value in raw.slice(0, SAMPLES).to_pylist()),
            )
        )
    return tuple(seen), len(frame), tuple(map(sentence, findings))


def _kind(arrow: Any) -> str:
    """What is in a column, by its type in Arrow."""
    import pyarrow as pa

    if pa.types.is_dictionary(arrow):
        return "text"
    if pa.types.is_timestamp(arrow):
        return "date or time"
    return KINDS.get(str(arrow), "no values")


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:40]

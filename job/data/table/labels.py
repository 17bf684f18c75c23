"""The label column → classes and indices."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes
from job.data.labels import shown
from job.data.table import kinds
from job.data.table.frame import Frame
from job.errors import DataError

BOOLEANS: Classes = ("false", "true")


def without_missing(frame: Frame, label: str, warnings: list[str]) -> Frame:
    """The rows that have a label.

    Args:
        frame: All rows.
        label: The column.
        warnings: Gets a sentence when rows are left out.

    Raises:
        DataError: No row has one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = frame.columns[label]
    present = pc.is_valid(array)
    if pa.types.is_string(array.type):
        present = pc.and_(present, pc.fill_null(pc.not_equal(array, ""), False))
    rows = np.flatnonzero(present.to_numpy())
    if not len(rows):
        raise DataError(
            f"{frame.name}: expected labels in column {label!r}. Received: missing values only.",
            hint="Check --label.",
        )
    if len(rows) == len(frame):
        return frame
    warnings.append(f"{len(frame) - len(rows):,} rows without a label are left out.")
    return frame.take(rows)


def expect_classes(frame: Frame, label: str) -> None:
    """Refuses rows that are all of one class.

    Raises:
        DataError: They are, or their labels are fractions, mixed, or of a type that is no class.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with _advised():
        found = kinds.guessed(frame, label)
    if pa.types.is_floating(found.type):
        fraction = pc.fill_null(pc.not_equal(pc.floor(found), found), False)
        row = int(pc.index(fraction, True).as_py())
        if row >= 0:
            raise frame.bad(
                row,
                label,
                "a class: whole numbers or text",
                repr(found[row].as_py()),
                hint="A classifier cannot learn a quantity: put it into classes first.",
            )
        # The rest may be too large to tell apart as floating-point numbers.
        found = frame.columns[label]
    found = pc.unique(found)
    if len(found) < 2:
        raise DataError(
            f"{frame.name}: expected at least two classes in column {label!r}. "
            f"Received: only {shown(found[0].as_py())}, in all {len(frame)} rows.",
            hint="Check --label, and that the rows are not cut off.",
        )


def classify(frame: Frame, label: str, *, whole: Frame) -> tuple[Classes, NDArray[np.int32]]:
    """Finds the classes in training rows.

    Args:
        frame: The training rows.
        label: The column.
        whole: The rows that they were split from.

    Returns:
        The labels that occur, sorted, and (rows,) indices into them.

    Raises:
        DataError: One class only, whole numbers that are too large, or hardly a row for each class.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with _advised():
        array = kinds.guessed(frame, label)
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.string())
    elif pa.types.is_floating(array.type):
        array = kinds.demanded(
            frame, label, "integer", why=" that a signed 64-bit integer holds",
            way_out="; write longer ones as text: a letter in front",
        )  # fmt: skip
    classes: Classes = tuple(sorted(pc.unique(array).to_pylist()))
    if len(classes) < 2:
        raise DataError(
            f"{frame.name}: expected training rows of at least two classes in column {label!r} "
            f"when the test rows are held out. Received: only {shown(classes[0])}, "
            f"in {len(frame)} of {len(whole)} rows: too few of a class to split.",
            hint="Give more rows of each class, or a --test-data of your own.",
        )
    if 2 * len(classes) > len(frame):
        raise DataError(
            f"{frame.name}: expected at least two training rows for each class of column "
            f"{label!r}. Received: {len(frame)} rows and {len(classes)} classes.",
            hint="Check that --label is a class and no identifier, or give more rows.",
        )
    return classes, _indices(array, classes)


def encode_labels(frame: Frame, label: str, classes: Classes) -> NDArray[np.int32]:
    """Maps labels onto classes that are known.

    Raises:
        DataError: A label is not among them.
    """
    import pyarrow as pa

    with _advised():
        if classes == BOOLEANS:
            array = kinds.demanded(frame, label, "boolean").cast(pa.string())
        else:
            target: kinds.Target = "text" if isinstance(classes[0], str) else "integer"
            array = kinds.demanded(frame, label, target)
    y = _indices(array, classes)
    if (y < 0).any():
        row = int((y < 0).argmax())
        some = ", ".join(shown(name) for name in classes[:5])
        raise frame.bad(
            row,
            label,
            f"a label that occurs in the training rows: {some}"
            + (f" and {len(classes) - 5} more" if len(classes) > 5 else ""),
            f"{shown(array[row].as_py())}, and {int((y < 0).sum()) - 1} more rows of the kind",
            hint="Add training rows of that class, or remove those rows.",
        )
    return y


@contextlib.contextmanager
def _advised() -> Iterator[None]:
    """Gives errors about a column the advice that fits the label."""
    try:
        yield
    except DataError as exc:
        raise DataError(
            exc.message,
            hint="Correct the label or leave it empty; or write all of them as text that is no "
            "number and no date: a letter in front.",
        ) from exc


def _indices(array: Any, classes: Classes) -> NDArray[np.int32]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(array, pa.array(list(classes), array.type))
    indices: NDArray[np.int32] = pc.fill_null(found, -1).to_numpy().astype(np.int32)
    return indices

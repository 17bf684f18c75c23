"""Labels → classes and indices: any integers or strings, found in the training rows."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.data.dataset import Classes, Labelled
from job.data.findings import LOST_SHARE, Finding
from job.data.memory import allocate
from job.data.place import MEMORY, Place
from job.data.sources.arrays import StoredArray
from job.errors import DataError

SHOWN = 80
"""Characters of a label in a message."""


def read(array: StoredArray) -> NDArray[Any]:
    """Reads an array of labels.

    Returns:
        (rows,), integers, strings or bytes; booleans become 0 and 1.

    Raises:
        DataError: The labels are one-hot, floats, or no labels at all.
    """
    dtype, shape = array.dtype, array.shape
    if dtype.kind not in "biuSU":
        hint = "Save labels as integers or strings: y.astype('int64') or y.astype(str)."
        raise DataError(
            f"{array.name}: expected labels that are integers or strings. "
            f"Received: {str(dtype)[:200]}, shape {shape}.",
            hint="Save y.argmax(axis=1) in place of one-hot rows." if _one_hot(shape) else hint,
        )
    if _one_hot(shape):
        raise DataError(
            f"{array.name}: expected one label a row, shape (rows,) or (rows, 1). "
            f"Received: shape {shape}.",
            hint="If the rows are one-hot, save y.argmax(axis=1).",
        )
    labels = allocate(shape[:1], dtype.newbyteorder("="), array.name)
    for first, block in array.blocks():
        labels[first : first + len(block)] = block.reshape(-1)
    if dtype.kind == "U" and labels.view(np.uint32).max() > sys.maxunicode:
        raise _not_text(array.name, "a number that is no character")
    return labels.view(np.uint8) if dtype.kind == "b" else labels


def index(rows: Labelled, *, hint: str) -> tuple[Classes, NDArray[np.int32]]:
    """Finds the classes in training rows.

    Args:
        rows: The training rows.
        hint: What to do when there is only one class.

    Returns:
        The labels that occur, sorted, and (rows,) indices into them.

    Raises:
        DataError: Inputs and labels differ in number, there is only one class, or hardly a row
            for each.
    """
    found, inverse = _distinct(rows)
    classes: Classes = tuple(sorted(found))
    if len(classes) < 2:
        raise DataError(
            f"{rows.name}: expected at least two classes. "
            f"Received: only the label {shown(classes[0])}, in all {len(rows.labels)} rows.",
            hint=hint,
        )
    if 2 * len(classes) > len(rows.labels):
        raise DataError(
            f"{rows.name}: expected at least two training rows for each class. "
            f"Received: {len(rows.labels)} rows and {len(classes)} classes.",
            hint="Check that the labels are classes and no identifiers, or give more rows.",
        )
    return classes, _lookup(found, classes)[inverse]


def encode(rows: Labelled, classes: Classes) -> NDArray[np.int32]:
    """Maps the labels of rows onto classes that are known.

    Returns:
        (rows,) indices into the classes.

    Raises:
        DataError: Inputs and labels differ in number, or a label is not among the classes.
    """
    found, inverse = _distinct(rows)
    table = _lookup(found, classes)
    y = table[inverse]
    if (table < 0).any():
        unknown = [label for label, i in zip(found, table, strict=True) if i < 0]
        row = int(np.argmax(y < 0))
        raise DataError(
            f"{rows.name}: expected only labels that occur in the training rows: "
            f"{_some(classes)}. Received: {_some(unknown)}, in {int((y < 0).sum())} rows; the "
            f"first is {shown(found[inverse[row]])} in row {row} (counting from 0).",
            hint="Add training rows of that class, or remove those rows.",
        )
    return y


def without_unknown(rows: Labelled, classes: Classes, place: Place = MEMORY) -> Labelled:
    """Leaves out held-out rows whose label no training row has, with a finding for each label.

    Rows that came apart from the training rows stay; `encode` rejects such labels there.

    Raises:
        DataError: No row is left.
    """
    found, inverse = _distinct(rows)
    unknown = _lookup(found, classes) < 0
    if rows.of is None or not unknown.any():
        return rows
    counts = np.bincount(inverse, minlength=len(found))
    kept = np.flatnonzero(~unknown[inverse])
    if not len(kept):
        raise DataError(
            f"{rows.name}: expected test rows whose labels also occur in training. Received: none.",
            hint="Give more rows of each class, or a --test-data of your own.",
        )
    findings = [
        Finding(code="lost-class", column=str(found[i]), count=int(counts[i]))
        for i in np.flatnonzero(unknown)
    ]
    lost = len(inverse) - len(kept)
    if lost > LOST_SHARE * rows.of:
        findings.append(Finding(code="lost-rows", count=lost, of=rows.of))
    x = place.array((len(kept), *rows.x.shape[1:]), rows.x.dtype, rows.name)
    np.take(rows.x, kept, axis=0, out=x, mode="clip")
    again = rows.again
    return replace(
        rows,
        x=x,
        again=again and (lambda shape: again(shape)[kept]),
        labels=rows.labels[kept],
        kept={name: values.take(kept) for name, values in rows.kept.items()},
        findings=(*rows.findings, *findings),
    )


def shown(label: int | str) -> str:
    """A label as messages show it: on one line, and short."""
    text = repr(label)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _one_hot(shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape != (shape[0], 1)


def _lookup(found: list[int | str], classes: Classes) -> NDArray[np.int32]:
    position = {label: i for i, label in enumerate(classes)}
    return np.array([position.get(label, -1) for label in found], np.int32)


def check_count(rows: Labelled) -> None:
    """Refuses rows and labels that are not as many.

    Raises:
        DataError: They are not.
    """
    if len(rows.labels) != len(rows.x):
        raise DataError(
            f"{rows.name}: expected one label for each of the {len(rows.x)} rows. "
            f"Received: {len(rows.labels)} labels.",
            hint="Check that inputs and labels belong together, and that neither is cut off.",
        )


def _distinct(rows: Labelled) -> tuple[list[int | str], NDArray[np.intp]]:
    """The labels that occur, as Python values, and (rows,) indices into them."""
    check_count(rows)
    found, inverse = np.unique(rows.labels, return_inverse=True)
    try:
        return [_text(label) for label in found.tolist()], inverse
    except UnicodeError as exc:
        raise _not_text(rows.name, str(exc)) from exc


def _text(label: int | str | bytes) -> int | str:
    if isinstance(label, bytes):
        return label.decode()
    if isinstance(label, str):
        label.encode()  # a lone surrogate could not be written anywhere
    return label


def _not_text(name: str, received: str) -> DataError:
    return DataError(
        f"{name}: expected labels in valid Unicode, and UTF-8 for bytes. Received: {received}.",
        hint="Save the labels again as strings.",
    )


def _some(names: Classes | list[int | str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(shown(name) for name in names[:5]) + more

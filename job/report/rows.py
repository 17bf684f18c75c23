"""Test rows worth looking at: the surest mistakes, and what of a table's rows may be shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from job.config.publishing import ReportRows
from job.data.dataset import Dataset
from job.data.place import beside, blocks
from job.record import Fit

_CELLS = 12
"""Columns of a row that are shown."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the model said of the test rows.

    Attributes:
        predicted: (rows,); the classes that it decided for, as indices.
        sure: (rows,), float32; their probabilities.
    """

    predicted: NDArray[np.int64]
    sure: NDArray[np.float32]

    @classmethod
    def of(cls, fit: Fit) -> "Answers":
        """From the probabilities of all classes."""
        predicted = fit.predicted
        sure = beside(predicted).array(predicted.shape, np.float32, "answers")
        for some in blocks(len(sure)):
            said = predicted[some]
            sure[some] = fit.probabilities[some][np.arange(len(said)), said]
        return cls(predicted=predicted, sure=sure)

    def surest_mistakes(self, y: NDArray[np.int32], most: int) -> NDArray[np.int64]:
        """The rows with a wrong answer, the most probable answer first."""
        return self.surest(lambda some: self.predicted[some] != y[some], most)

    def surest(self, meant: Callable[[slice], NDArray[np.bool_]], most: int) -> NDArray[np.int64]:
        """Those of the rows that are meant, the most probable answer first."""
        best = np.empty(0, np.int64)
        for some in blocks(len(self.sure)):
            best = np.append(best, some.start + np.flatnonzero(meant(some)))
            best = best[np.argsort(-self.sure[best], kind="stable")[:most]]
        return best


@dataclass(frozen=True, kw_only=True)
class Row:
    """One test row of a table with a wrong answer.

    Attributes:
        name: Which one it is: its values in the columns of --keep, or its number in its file.
        true: The class it is labelled with.
        said: The class that the model decided for.
        sure: The probability of that class, 0 to 1.
        cells: Column → its value, None when missing; empty unless all may be shown.
    """

    name: Mapping[str, object]
    true: int | str
    said: int | str
    sure: float
    cells: Mapping[str, object]


def mistakes(
    dataset: Dataset,
    answers: Answers,
    rows: Sequence[int] | NDArray[np.int64],
    *,
    show: ReportRows,
    columns: Sequence[str] = (),
) -> tuple[Row, ...]:
    """Test rows of a table, with as much of them as may be shown.

    Args:
        dataset: The data; without a table there are no rows.
        answers: What the model said.
        rows: Which ones.
        show: `--report-rows`.
        columns: The columns in the order of their importance.
    """
    if dataset.table is None or show == "none":
        return ()
    source = dataset.table.source
    cells = {name: source.column(name) for name in columns[:_CELLS]} if show == "all" else {}
    return tuple(
        Row(
            name=_values(dataset.kept, row) or _number(source, row),
            true=dataset.classes[dataset.test.y[row]],
            said=dataset.classes[answers.predicted[row]],
            sure=float(answers.sure[row]),
            cells=_values(cells, row),
        )
        for row in map(int, rows)
    )


def _number(source: Any, row: int) -> Mapping[str, object]:
    """The row's number in its file; the file's name, too, when there are several."""
    file, number = source.where(row)
    several = len(source.files) > 1
    return {**({"file": file} if several else {}), "row": number}


def _values(columns: Mapping[str, Any], row: int) -> Mapping[str, object]:
    """One row of Arrow columns as Python values."""
    return {name: values[row].as_py() for name, values in columns.items()}

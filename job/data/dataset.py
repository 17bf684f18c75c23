"""What training and evaluation see of any data: Split and Dataset."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = tuple[int | str, ...]
"""All integers or all strings, sorted."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Labelled rows.

    Attributes:
        x: (rows, *shape), uint8 for pixels, else float32; finite.
        y: (rows,), int32; indices into the data set's classes.
    """

    x: NDArray[np.uint8] | NDArray[np.float32]
    y: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that was read and checked.

    Attributes:
        uri: Where it was read from, as the user wrote it.
        digest: SHA-256 (hex) of the contents that were read, independent of path and packing.
        classes: The labels that occur in the training rows, sorted; integers or strings.
        train: All rows that came for training, those held out for validation included.
        fit_rows: (n,), int64; the rows of `train` that the gradient sees, ascending.
        validation_rows: (m,), int64; the rows of `train` held out for validation, ascending.
        test: The test rows, never seen in training.
    """

    uri: str
    digest: str
    classes: Classes
    train: Split
    fit_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    test: Split

"""IDX and npz files as users have them, and as attackers write them."""

import contextlib
import gzip
import io
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from job import data
from job.config import DataOptions
from job.data.dataset import Dataset
from job.errors import JobError

IDX_TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def arrays(rows: int = 40, classes: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """A small data set under Keras's keys: 3×2 pixels; the labels 0, 1, 2, … in turn."""
    rng = np.random.default_rng(seed)
    return {
        "x_train": rng.integers(0, 256, (rows, 3, 2)).astype(np.uint8),
        "y_train": (np.arange(rows) % classes).astype(np.uint8),
        "x_test": rng.integers(0, 256, (8, 3, 2)).astype(np.uint8),
        "y_test": (np.arange(8) % classes).astype(np.uint8),
    }


def idx_bytes(array: np.ndarray) -> bytes:
    kind = IDX_TYPES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder: Path, parts: dict[str, np.ndarray], *, packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in parts.items():
        body = idx_bytes(array)
        path = folder / (NAMES[key] + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(body, 1) if packed else body)
    return folder


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """An .npy file with a header of one's own and without values."""
    body = text.encode("latin1") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(body))
    return b"\x93NUMPY" + bytes(version) + size + body


def write_npz(path: Path, **members: Any) -> Path:
    """An .npz file; bytes are written as they are, arrays as NumPy does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in members.items():
            archive.writestr(f"{key}.npy", value if isinstance(value, bytes) else npy_bytes(value))
    return path


def load(
    uri: Path | str, test: Path | str | None = None, split: float = 0.25, **reading: Any
) -> Dataset:
    return data.load(
        str(uri),
        test_uri=None if test is None else str(test),
        validation_split=split,
        scratch=Path("/nowhere/scratch"),
        reading=DataOptions(**reading),
    )


@contextlib.contextmanager
def refused(error: type[JobError], *words: str) -> Iterator[None]:
    """The error must name every word, and say what was received."""
    with pytest.raises(error) as caught:
        yield
    assert "Received: " in caught.value.message
    for word in words:
        assert re.search(re.escape(word), caught.value.message), caught.value.message

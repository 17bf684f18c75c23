"""The MNIST that the package carries: four IDX files, checked against their SHA-256.

Source and licence: embedded/README.md.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from job.data import labels
from job.data.dataset import Labelled, Part
from job.data.files import opening
from job.data.sources import idx, values
from job.data.sources.arrays import StoredArray
from job.errors import DataError

FOLDER = Path(__file__).parents[1] / "embedded"

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of each unpacked file."""


def read(part: Part, folder: Path = FOLDER) -> Labelled:
    """Reads the 60,000 training or the 10,000 test images, (rows, 28, 28) uint8, and their digits.

    Raises:
        DataError: A file is not the one that was packed.
        DataNotFound: A file is missing.
    """
    images, digits = (f"{idx.PREFIX[part]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    return Labelled(
        name="mnist",
        x=_checked(folder, images, values.read),
        labels=_checked(folder, digits, labels.read),
    )


class _Hashed(io.RawIOBase):
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO):
        self.sha256 = hashlib.sha256()
        self._stream = stream

    def readinto(self, buffer: Any, /) -> int:
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self.sha256.update(memoryview(buffer)[:count])
        return count


def _checked(folder: Path, name: str, read: Callable[[StoredArray], NDArray[Any]]) -> NDArray[Any]:
    with opening.opened(folder / f"{name}.gz", f"mnist: {name}.gz") as stream:
        content = _Hashed(opening.unpacked(stream))
        array = read(idx.announce(content, f"mnist: {name}.gz"))  # type: ignore[arg-type]
    if content.sha256.hexdigest() != SHA256[name]:
        raise DataError(
            f"mnist: {name}.gz: expected the contents with SHA-256 {SHA256[name]}. "
            f"Received: {content.sha256.hexdigest()}.",
            hint="The installation is damaged: install the package again.",
        )
    return array

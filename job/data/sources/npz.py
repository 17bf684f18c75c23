"""NumPy's .npz files: zip archives of .npy files, with Keras's keys."""

import contextlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from job.data import labels
from job.data.dataset import Labelled, Part
from job.data.files import opening
from job.data.sources import npy, values
from job.data.sources.arrays import StoredArray, check_packing
from job.errors import DataError

MAX_ARRAYS = 1_000
MAX_DIRECTORY = 1 << 20
"""Members of an archive, and bytes of its list of them."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How numpy.savez and numpy.savez_compressed pack."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An open .npz file.

    Attributes:
        name: How messages call it.
        size: Its bytes on disk.
        content: The zip archive.
        members: Its arrays by their keys.
    """

    name: str
    size: int
    content: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]

    @property
    def keys(self) -> str:
        """The keys, for messages."""
        shown = [repr(key[:80]) for key in self.members]
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        return (", ".join(shown[:8]) + more) or "an empty archive"

    @contextlib.contextmanager
    def array(self, key: str) -> Iterator[StoredArray]:
        """One array, announced.

        Raises:
            DataError: It is encrypted, packed otherwise than NumPy does, or lies about its size.
        """
        info, name = self.members[key], f"{self.name}: {key}"
        if info.flag_bits & 1 or info.compress_type not in METHODS:
            raise DataError(
                f"{name}: expected an array as numpy.savez or savez_compressed writes it. "
                "Received: one that is encrypted or packed in another way.",
                hint="Save the file again with numpy.savez_compressed.",
            )
        packed = min(info.compress_size, self.size)
        check_packing(name, packed=packed, unpacked=info.file_size)
        with _as_bad_zip():
            stream = self.content.open(info)
        with stream:
            yield npy.announce(stream, name, size=info.file_size)  # type: ignore[arg-type]


@contextlib.contextmanager
def opened(path: Path, name: str) -> Iterator[Archive]:
    """An .npz file, open; maps errors as `opening.opened` does.

    Raises:
        DataError: It is no zip archive, or one that no program of good will writes.
    """
    with opening.opened(path, name) as stream, _Bounded(stream.raw) as bounded:
        with _as_bad_zip():
            content = zipfile.ZipFile(bounded)
        with content:
            infos = content.infolist()
            members = {info.filename.removesuffix(".npy"): info for info in infos}
            if len(infos) > MAX_ARRAYS or len(members) < len(infos):
                raise DataError(
                    f"{name}: expected at most {MAX_ARRAYS} arrays, each with its own name. "
                    f"Received: {len(infos)} with {len(members)} names.",
                    hint="Save the file again with numpy.savez.",
                )
            size = opening.size(stream)
            yield Archive(name=name, size=size, content=content, members=members)


def has_test_rows(uri: str, path: Path) -> bool:
    """Whether a file holds anything but training rows.

    Raises:
        As `opened`.
    """
    with opened(path, uri) as archive:
        return "x_train" not in archive.members or bool({"x_test", "y_test"} & {*archive.members})


def read(uri: str, path: Path, part: Part) -> Labelled:
    """Reads one part of an .npz file.

    Args:
        uri: The file as the user wrote it.
        path: Where it lies.
        part: `train` for x_train and y_train, `test` for x_test and y_test; a file without
            either may call its test rows x and y.

    Raises:
        DataNotFound: There is no such file.
        DataError: It is damaged, hostile, or not what a classifier learns from.
        AccessDenied: It may not be read.
    """
    with opened(path, uri) as archive:
        split = "x_train" in archive.members or "x_test" in archive.members
        plain = part == "test" and not split and "x" in archive.members
        x_key, y_key = ("x", "y") if plain else (f"x_{part}", f"y_{part}")
        if x_key not in archive.members or y_key not in archive.members:
            raise DataError(
                f"{uri}: expected the arrays {x_key} and {y_key}. Received: {archive.keys}.",
                hint="Save it with numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…)."
                if part == "train"
                else f"Add {x_key} and {y_key} to it, or name a test set with --test-data.",
            )
        with archive.array(x_key) as array:
            x = values.read(array)
        with archive.array(y_key) as array:
            y = labels.read(array)
    return Labelled(name=f"{uri}: {x_key}", x=x, labels=y)


class _Bounded(io.BufferedReader):
    """A file that refuses to give a huge piece at once, as which zipfile reads its directory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a list of members of {size} bytes")
        return super().read(size)


@contextlib.contextmanager
def _as_bad_zip() -> Iterator[None]:
    """What else zipfile raises for a bad archive becomes a BadZipFile."""
    try:
        yield
    except (ValueError, NotImplementedError, OverflowError) as exc:
        raise zipfile.BadZipFile(str(exc)) from exc

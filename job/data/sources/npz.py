"""NumPy's .npz files: zip archives of .npy files, with Keras's keys."""

import contextlib
import zipfile
from collections.abc import Iterator

from job.data import labels
from job.data.dataset import Labelled, Part
from job.data.files import opening
from job.data.files.opening import Source
from job.data.place import MEMORY, Place
from job.data.sources import arrays, values
from job.data.sources.arrays import StoredArray
from job.errors import DataError

ROWS = ("x", "x_test")
"""Which array is predicted; else the only one."""


@contextlib.contextmanager
def opened(path: Source, name: str) -> Iterator[zipfile.ZipFile]:
    """An .npz file, open; maps errors as `opening.opened` does.

    Raises:
        DataError: It is no zip archive, or a damaged one.
    """
    with opening.opened(path, name) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except (ValueError, NotImplementedError, OverflowError, RuntimeError) as exc:
            raise zipfile.BadZipFile(str(exc)) from exc  # what else zipfile raises for bad ones


def has_test_rows(uri: str, path: Source) -> bool:
    """Whether a file holds anything but training rows.

    Raises:
        As `opened`.
    """
    with opened(path, uri) as archive:
        keys = _keys(archive)
        return "x_train" not in keys or bool({"x_test", "y_test"} & {*keys})


def read(uri: str, path: Source, part: Part, place: Place = MEMORY) -> Labelled:
    """Reads one part of an .npz file.

    Args:
        uri: The file as the user wrote it.
        path: Where it lies.
        part: `train` for x_train and y_train, `test` for x_test and y_test; a file without
            either may call its test rows x and y.
        place: Where the rows go.

    Raises:
        DataNotFound: There is no such file.
        DataError: It is damaged, or not what a classifier learns from.
        AccessDenied: It may not be read.
    """
    with opened(path, uri) as archive:
        keys = _keys(archive)
        plain = part == "test" and not {"x_train", "x_test"} & {*keys} and "x" in keys
        x_key, y_key = ("x", "y") if plain else (f"x_{part}", f"y_{part}")
        if x_key not in keys or y_key not in keys:
            raise DataError(
                f"{uri}: expected the arrays {x_key} and {y_key}. Received: {_some(keys)}.",
                hint="Save it with numpy.savez(file, x_train=…, y_train=…, x_test=…, y_test=…)."
                if part == "train"
                else f"Add {x_key} and {y_key} to it, or name a test set with --test-data.",
            )
        with _array(archive, uri, x_key) as array:
            x = values.read(array, place, path)
        with _array(archive, uri, y_key) as array:
            y = labels.read(array)
    return Labelled(name=f"{uri}: {x_key}", x=x, labels=y)


@contextlib.contextmanager
def rows(uri: str, path: Source) -> Iterator[StoredArray]:
    """The array of an .npz file that is predicted.

    Raises:
        As `read`.
    """
    with opened(path, uri) as archive:
        keys = _keys(archive)
        named = [key for key in ROWS if key in keys]
        if not named and len(keys) != 1:
            raise DataError(
                f"{uri}: expected an array named x or x_test, or a single one. "
                f"Received: {_some(keys)}.",
                hint="Save the rows with numpy.savez_compressed(file, x=rows).",
            )
        with _array(archive, uri, (named or keys)[0]) as array:
            yield array


@contextlib.contextmanager
def _array(archive: zipfile.ZipFile, uri: str, key: str) -> Iterator[StoredArray]:
    member = f"{key}.npy" if f"{key}.npy" in archive.namelist() else key
    with archive.open(member) as stream:
        yield arrays.announce(stream, f"{uri}: {key}", key)  # type: ignore[arg-type]


def _keys(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
    return (", ".join(repr(key[:80]) for key in keys[:8]) + more) or "an empty archive"

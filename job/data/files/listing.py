"""Which files a URI names: one, several, a glob, a folder or an S3 prefix."""

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from job.data.files import opening, staging
from job.errors import DataError, DataNotFound

TABLE = re.compile(r"(?i).*\.(csv|csv\.gz|parquet)")
IMAGE = re.compile(r"(?i).*\.(png|jpe?g)")
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files below one root, or below several.

    Attributes:
        uri: As the user wrote it.
        keys: Paths relative to the root, sorted; of several roots, the number comes first.
        fetch: Brings files here: keys → local paths, in that order.
        name: What a user would call a file: key → its path or URI.
        several: Whether there are several roots.
    """

    uri: str
    keys: tuple[str, ...]
    fetch: Callable[[tuple[str, ...]], list[Path]]
    name: Callable[[str], str]
    several: bool = False

    def names(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """How messages call the files."""
        return tuple(map(self.name, keys))


def find(uri: str, scratch: Path) -> Found:
    """The files that a URI names, at least one; see `look`.

    Raises:
        DataNotFound: There are none.
        DataError, UsageError, AccessDenied, StoreError: As `look`.
    """
    found = look(uri, scratch)
    if not found.keys:
        raise DataNotFound(
            f"{uri}: expected files there. Received: none.",
            hint="Check the path, the bucket and the pattern.",
        )
    return found


def look(uri: str, scratch: Path) -> Found:
    """The files that a URI names; hidden ones and those that begin with _ are none.

    Args:
        uri: A file, a folder, a glob, or several of these with commas between; local or s3://.
        scratch: Where files from S3 will be put.

    Raises:
        DataNotFound: One of several has none.
        DataError: A path or key leads out of its folder.
        UsageError, AccessDenied, StoreError: As `staging.file`.
    """
    if "," in uri and not (not staging.is_s3(uri) and Path(uri).exists()):
        parts = [find(part.strip(), scratch) for part in uri.split(",") if part.strip()]
        return _together(uri, parts)
    return _on_s3(uri, scratch) if staging.is_s3(uri) else _local(uri)


def is_table(found: Found) -> bool:
    """Whether files are a table.

    Raises:
        DataError: There are images besides.
    """
    tables = [key for key in found.keys if TABLE.fullmatch(key)]
    images = [key for key in found.keys if IMAGE.fullmatch(key)]
    if tables and images:
        raise DataError(
            f"{found.uri}: expected a table or images. Received: {len(tables)} of the one, as "
            f"{found.name(tables[0])[:200]}, and {len(images)} of the other, as "
            f"{found.name(images[0])[:200]}.",
            hint="Name the table itself to train on it; to train on the images, move the table "
            "elsewhere or put _ in front of its name.",
        )
    return bool(tables)


def _together(uri: str, parts: list[Found]) -> Found:
    keys = tuple(f"{i}/{key}" for i, part in enumerate(parts) for key in part.keys)
    counted = Counter(name for part in parts for name in part.names(part.keys))
    twice = next((name for name, times in counted.items() if times > 1), None)
    if twice is not None:
        raise DataError(
            f"{uri}: expected each file once. Received: {twice[:200]} twice.",
            hint="Leave out the name or the pattern that finds it again.",
        )

    def fetch(wanted: tuple[str, ...]) -> list[Path]:
        paths = []
        for i, part in enumerate(parts):
            own = tuple(k.partition("/")[2] for k in wanted if k.startswith(f"{i}/"))
            paths += part.fetch(own)
        return paths

    def name(key: str) -> str:
        i, _, own = key.partition("/")
        return parts[int(i)].name(own)

    return Found(uri=uri, keys=keys, fetch=fetch, name=name, several=True)


def _local(uri: str) -> Found:
    wild = WILD.search(uri)
    if wild and not Path(uri).exists():
        fixed = "".join(uri[: wild.start()].rpartition("/")[:2])
        matches = sorted(glob.glob(uri))  # noqa: PTH207 - the whole path is a pattern
        keys = {path.removeprefix(fixed): Path(path) for path in matches if not Path(path).is_dir()}
    elif opening.is_folder(Path(uri), uri):
        root = Path(uri)
        with opening.reading(uri):
            paths = sorted(
                path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()
            )
        keys = {path.relative_to(root).as_posix(): path for path in paths}
        keys = {key: path for key, path in keys.items() if not _hidden(key)}
        inside = os.path.realpath(root)
        for key, path in keys.items():
            if not Path(os.path.realpath(path)).is_relative_to(inside):
                raise _climbs(uri, key)
        keys = {key: path for key, path in keys.items() if not path.is_dir()}
    else:
        keys = {uri.rpartition("/")[2]: Path(uri)}
    return Found(
        uri=uri,
        keys=tuple(keys),
        fetch=lambda wanted: [keys[key] for key in wanted],
        name=lambda key: str(keys[key]),
    )


def _on_s3(uri: str, scratch: Path) -> Found:
    head, *rest = re.split(r"(?<!/)/(?!/)", uri.rstrip("/"))  # s3://bucket, then the key's parts
    if not any(map(WILD.search, rest)) and TABLE.fullmatch(uri):
        return Found(
            uri=uri,
            keys=(rest[-1],),
            fetch=lambda _: [staging.file(uri, scratch)],
            name=lambda _: uri,
        )
    wild = next((i for i, part in enumerate(rest) if WILD.search(part)), len(rest))
    root, pattern = "/".join([head, *rest[:wild]]), rest[wild:]
    entries = {
        entry.key: entry
        for entry in staging.entries(root)
        if not entry.key.endswith("/")
        and (_matches(entry.key, pattern) if pattern else not _hidden(entry.key))
    }
    for key in entries:
        if {"", ".", ".."} & set(key.split("/")) or "\0" in key:
            raise _climbs(uri, key)
    return Found(
        uri=uri,
        keys=tuple(sorted(entries)),
        fetch=lambda wanted: staging.fetch(root, [entries[key] for key in wanted], scratch),
        name=lambda key: f"{root}/{key}",
    )


def _matches(key: str, pattern: list[str]) -> bool:
    parts = key.split("/")
    return len(parts) == len(pattern) and all(map(fnmatch.fnmatchcase, parts, pattern))


def _hidden(key: str) -> bool:
    return any(part.startswith((".", "_")) and part not in {".", ".."} for part in key.split("/"))


def _climbs(uri: str, key: str) -> DataError:
    return DataError(
        f"{uri}: expected files inside it. Received: {key[:200]!r}, which leads out of it.",
        hint="Remove the link or key, or copy the file into the folder.",
    )

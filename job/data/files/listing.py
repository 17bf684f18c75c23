"""List the files that a URI names: one, several, a glob, a folder or an S3 prefix."""

import fnmatch
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from job.data.files import opening, staging
from job.data.files.ranges import Remote
from job.data.findings import FEW, Finding
from job.errors import DataError, DataNotFound
from job.storage import Entry, Open, Store, open_store
from job.storage.uri import plain

PACKED = r"(\.(gz|bz2|xz|zst|zip))?"
TABLE = re.compile(
    rf"(?i).*\.(csv|tsv|tab|txt|data|json|jsonl|ndjson|parquet|pq|feather|arrow|xlsx){PACKED}"
    r"|(?i:.*\.zip)"
)
VAGUE = re.compile(rf"(?i).*\.(txt|data|json){PACKED}|(?i:.*\.zip)")
"""Endings of tables that other files have, too: such a file beside a .csv is no table."""

IMAGE = re.compile(
    r"(?i).*\.(png|jpe?g|jpe|jfif|webp|bmp|dib|gif|tiff?|p[bgpn]m|avif|heic|heif|jp2)"
)
ARRAYS = re.compile(r"(?i).*\.np[yz]|.*[-.]idx\d*(-[a-z]+)?(\.gz)?")
"""NumPy's files, and IDX files under their usual names."""

SEEMS_A_FILE = re.compile(r"[^.]\.|-idx\d")
"""What prefixes in S3 seldom have in their last part, and objects nearly always."""

WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class File:
    """One file.

    Attributes:
        name: How messages call it: its path or URI.
        path: Where it lies; None in S3.
        store: The S3 prefix that it lies under; None for a local file.
        entry: Its key there, size and ETag; None for a local file.
    """

    name: str
    path: Path | None = None
    store: Store | None = None
    entry: Entry | None = None

    def size(self) -> int:
        """Bytes."""
        if self.entry is not None:
            return self.entry.size
        with opening.reading(self.name):
            return Path(self.name).stat().st_size

    def source(self) -> opening.Source:
        """Where to open it; an object is read in flight."""
        if self.store is not None and self.entry is not None:
            return Remote(name=self.name, store=self.store, entry=self.entry)
        return Path(self.name)

    def version(self) -> str:
        """The ETag in S3; of a local file the SHA-256 (hex), for which it is read."""
        return self.entry.etag if self.entry else opening.sha256(Path(self.name), self.name)

    def stamp(self) -> str:
        """The ETag in S3; of a local file the time of its last change, in nanoseconds."""
        if self.entry:
            return self.entry.etag
        with opening.reading(self.name):
            return str(Path(self.name).stat().st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Files below one root, or below several.

    Attributes:
        uri: As the user wrote it.
        files: Path relative to the root → file, sorted; with several roots each path starts with
            the number of its root.
        scratch: Where files from S3 are put.
        several: Whether there are several roots.
        single: Whether the URI names one file itself.
    """

    uri: str
    files: Mapping[str, File]
    scratch: Path
    several: bool = False
    single: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The relative paths."""
        return tuple(self.files)

    def name(self, key: str) -> str:
        """How messages call a file."""
        return self.files[key].name

    def names(self, keys: Iterable[str]) -> tuple[str, ...]:
        """How messages call files."""
        return tuple(map(self.name, keys))

    def only(self, keys: Iterable[str]) -> "Found":
        """Some of the files."""
        return replace(self, files={key: self.files[key] for key in keys})

    def fetch(self, keys: Iterable[str]) -> list[Path]:
        """Local paths of files, in that order; those in S3 are downloaded.

        Raises:
            AccessDenied, StoreError: As `staging.fetch`.
        """
        return fetch([self.files[key] for key in keys], self.scratch)

    def sources(self, keys: Iterable[str], *, flying: bool = True) -> list[opening.Source]:
        """Where to open files, in that order.

        Args:
            keys: Of the files.
            flying: Whether those in S3 are read in flight; else they are downloaded.

        Raises:
            AccessDenied, StoreError: As `staging.fetch`.
        """
        if not flying:
            return [*self.fetch(keys)]
        return [self.files[key].source() for key in keys]

    def identity(self, *, contents: bool) -> list[tuple[str, int, str]]:
        """(path, bytes, version) of each file; the path of a single file is "".

        Args:
            contents: Whether the version of a local file is its SHA-256, for which it is read; else
                it is the time of its last change. In S3 it is the ETag.
        """
        return [
            ("" if self.single else key, file.size(), file.version() if contents else file.stamp())
            for key, file in self.files.items()
        ]

    @property
    def tables(self) -> tuple[str, ...]:
        """The keys of tables, by their names; what is named by itself is one whatever its name."""
        if self.single:
            return () if self.images or any(map(ARRAYS.fullmatch, self.files)) else self.keys
        found = tuple(key for key in self.files if TABLE.fullmatch(key))
        return tuple(key for key in found if self.several or not VAGUE.fullmatch(key)) or found

    @property
    def images(self) -> tuple[str, ...]:
        """The keys of images, by their names."""
        return tuple(key for key in self.files if IMAGE.fullmatch(key))


def fetch(files: Sequence[File], scratch: Path) -> list[Path]:
    """Local paths of files, in that order; those in S3 are downloaded.

    Raises:
        AccessDenied, StoreError: As `staging.fetch`.
    """
    paths = {file.name: file.path for file in files}
    for store in dict.fromkeys(file.store for file in files if file.store):
        entries = {f.name: f.entry for f in files if f.entry and f.store is store}
        fetched = staging.fetch(store, list(entries.values()), scratch)
        paths.update(zip(entries, fetched, strict=True))
    return [path for file in files if (path := paths[file.name])]


def find(uri: str, scratch: Path, opener: Open = open_store) -> Found:
    """The files that a URI names, at least one; see `look`.

    Raises:
        DataNotFound: There are none.
        DataError, UsageError, AccessDenied, StoreError: As `look`.
    """
    found = look(uri, scratch, opener)
    if not found.files:
        raise DataNotFound(
            f"{uri}: expected files there. Received: none.",
            hint="Check the path, the bucket and the pattern.",
        )
    return found


def look(uri: str, scratch: Path, opener: Open = open_store) -> Found:
    """The files that a URI names; hidden ones and those that begin with _ are none.

    Args:
        uri: A file, a folder, a glob, or several of these with commas between; local or s3://.
        scratch: Where files from S3 will be put.
        opener: Opens the stores in S3.

    Raises:
        DataNotFound: One of several has none.
        DataError: A path or key leads out of its folder, or a file is named twice.
        UsageError: A URI of another kind.
        AccessDenied, StoreError: It cannot be read.
    """
    remote = staging.is_s3(uri)
    if "," in uri and (remote or not Path(uri).exists()):
        parts = [find(part.strip(), scratch, opener) for part in uri.split(",") if part.strip()]
        return _together(uri, parts, scratch)
    files, single = _on_s3(uri, opener) if remote else _local(uri)
    return Found(uri=uri, files=dict(sorted(files.items())), scratch=scratch, single=single)


def is_table(found: Found, label: str | None = None) -> bool:
    """Whether files are read as a table.

    Where tables lie beside images in folders, a label means the table, and none the images. A
    single file with an unknown ending is a table when there is a label.
    """
    unknown = found.single and not any(map(TABLE.fullmatch, found.files))
    other = unknown or any("/" in key for key in found.images)
    return bool(found.tables) and not (other and label is None)


def copies(found: Found, keys: tuple[str, ...]) -> list[Finding]:
    """Findings about files with the same contents, and about files beside their packed form.

    Only files of equal size are compared; local ones are read for it.
    """
    packed, same = [], []
    stems: set[str] = set()
    sizes: dict[int, list[str]] = {}
    for key in sorted(keys, key=len):
        stem = re.sub(rf"(?i){PACKED}$", "", key)
        if stem in stems:
            packed.append(found.name(key))
        stems.add(stem)
        sizes.setdefault(found.files[key].size(), []).append(key)
    for alike in sizes.values():
        versions: set[str] = set()
        for key in alike if len(alike) > 1 else ():
            version = found.files[key].version()
            if version in versions:
                same.append(found.name(key))
            versions.add(version)
    told = (("packed-twice", packed), ("copied-file", same))
    return [
        Finding(code=code, count=len(names), of=len(keys), values=tuple(sorted(names)[:FEW]))
        for code, names in told
        if names
    ]


def _together(uri: str, parts: list[Found], scratch: Path) -> Found:
    files = {f"{i}/{key}": file for i, part in enumerate(parts) for key, file in part.files.items()}
    counted = Counter(file.name for file in files.values())
    twice = next((name for name, times in counted.items() if times > 1), None)
    if twice is not None:
        raise DataError(
            f"{uri}: expected each file once. Received: {twice[:200]} twice.",
            hint="Leave out the name or the pattern that finds it again.",
        )
    return Found(uri=uri, files=files, scratch=scratch, several=True)


def _local(uri: str) -> tuple[dict[str, File], bool]:
    wild = WILD.search(uri)
    if wild and not Path(uri).exists():
        fixed = "".join(uri[: wild.start()].rpartition("/")[:2])
        matches = map(Path, glob.glob(uri))  # noqa: PTH207 - the whole path is a pattern
        paths = {str(path).removeprefix(fixed): path for path in matches if not path.is_dir()}
    elif opening.is_folder(Path(uri), uri):
        root = Path(uri)
        with opening.reading(uri):
            inside = [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]
        paths = {path.relative_to(root).as_posix(): path for path in inside}
        paths = {key: path for key, path in paths.items() if not _hidden(key)}
        real = os.path.realpath(root)
        for key, path in sorted(paths.items()):
            if not Path(os.path.realpath(path)).is_relative_to(real):
                raise _climbs(uri, key)
        paths = {key: path for key, path in paths.items() if not path.is_dir()}
    else:
        return {uri.rpartition("/")[2]: File(name=uri, path=Path(uri))}, True
    return {key: File(name=str(path), path=path) for key, path in paths.items()}, False


def _on_s3(uri: str, opener: Open) -> tuple[dict[str, File], bool]:
    whole = plain(uri)
    head, *rest = re.split(r"(?<!/)/(?!/)", whole.rstrip("/"))  # s3://bucket, parts of the key
    wild = next((i for i, part in enumerate(rest) if WILD.search(part)), len(rest))
    root, pattern = "/".join([head, *rest[:wild]]), rest[wild:]
    named = bool(rest) and not pattern and not whole.endswith("/") and "\0" not in rest[-1]
    if named and SEEMS_A_FILE.search(rest[-1]) and (one := _object(root, opener)):
        return one, True  # without a listing: the object may be all that can be read
    store = opener(root)
    entries = {
        entry.key: entry
        for entry in store.list("")
        if entry.key
        and not entry.key.endswith("/")  # what consoles write for a folder
        and (_matches(entry.key, pattern) if pattern else not _hidden(entry.key))
    }
    if named and not entries and (one := _object(root, opener)):
        return one, True
    for key in entries:
        if {"", ".", ".."} & set(key.split("/")) or "\0" in key:
            raise _climbs(uri, key)
    files = {k: File(name=f"{root}/{k}", store=store, entry=e) for k, e in entries.items()}
    return files, False


def _object(uri: str, opener: Open) -> dict[str, File]:
    root, _, key = uri.rpartition("/")
    store = opener(root)
    try:
        return {key: File(name=uri, store=store, entry=store.entry(key))}
    except DataNotFound:
        return {}


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

"""Files from S3, brought into scratch; local ones stay where they are."""

import hashlib
import secrets
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job.data.files import opening
from job.errors import UsageError
from job.process import log
from job.storage import Entry, Store, replaced

DOWNLOADS = 16
"""Objects fetched at once; there may be many small ones."""

OBJECTS = "objects"
"""Where they go, below scratch."""

SCHEMES = {"s3", "s3a", "s3n"}

PROGRESS_SECONDS = 5.0
"""Between two words about a long download."""


def fetch(store: Store, wanted: Sequence[Entry], scratch: Path) -> list[Path]:
    """Downloads objects, many at once; what was there already, by content, is not read again.

    Args:
        root: s3://bucket/prefix.
        wanted: Objects as they were listed there.
        scratch: Where they go: a folder that is kept makes a retry cheap.

    Returns:
        Where each object lies.

    Raises:
        AccessDenied: An object may not be read.
        StoreError: Storage kept failing, the disk is full, or an object is not what was listed.
    """
    root, place = store.uri, scratch / OBJECTS
    with opening.reading(str(place)):
        place.mkdir(parents=True, exist_ok=True)
        there = {path.name.partition(".")[0]: path for path in place.iterdir()}

    def is_kept(entry: Entry) -> bool:
        path = there.get(_object_name(root, entry))
        with opening.reading(
            str(place)
        ):  # the hash in its name tells a file that was damaged since
            if path is None or path.suffix != f".{_content_of(path)}":
                return False
            opening.used(path)
            return True

    def one(entry: Entry) -> Path:
        unfinished = place / f".{_object_name(root, entry)}.{secrets.token_hex(4)}"
        store.download(entry.key, unfinished)
        with opening.reading(str(place)):
            if unfinished.stat().st_size != entry.size:
                raise replaced(root, entry)
            name = f"{_object_name(root, entry)}.{_content_of(unfinished)}"
            return unfinished.replace(place / name)

    with ThreadPoolExecutor(DOWNLOADS) as pool:
        todo = [e for e, kept in zip(wanted, pool.map(is_kept, wanted), strict=True) if not kept]
        total, done, told = sum(entry.size for entry in todo), 0, time.monotonic()
        for count, (entry, path) in enumerate(zip(todo, pool.map(one, todo), strict=True), start=1):
            there[_object_name(root, entry)] = path
            done += entry.size
            if time.monotonic() - told > PROGRESS_SECONDS or count == len(todo):
                told = time.monotonic()
                log.event(
                    "data.fetched",
                    f"Fetched {count:,} of {len(todo):,} objects, {done / 2**20:,.0f} of "
                    f"{total / 2**20:,.0f} MiB; {len(wanted) - len(todo):,} were here already.",
                    objects=count,
                    bytes=done,
                    cached=len(wanted) - len(todo),
                )
    if todo:
        # One listing for many; for a single object, which may be all that can be read, its own.
        now = store.list("") if len(todo) > 1 else [store.entry(todo[0].key)]
        listed = {entry.key: entry for entry in now}
        for entry in todo:
            if listed.get(entry.key) != entry:  # replaced while it was read
                there[_object_name(root, entry)].unlink(missing_ok=True)
                raise replaced(root, entry)
    return [there[_object_name(root, entry)] for entry in wanted]


def _object_name(root: str, entry: Entry) -> str:
    return hashlib.sha256(f"{root}\n{entry.key}\n{entry.etag}".encode()).hexdigest()[:32]


def _content_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_s3(uri: str) -> bool:
    """Whether a URI names S3 rather than a local path.

    Raises:
        UsageError: It names something else, as in https://, or no bucket.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return False
    if scheme in {"http", "https", "ftp"}:
        name = rest.partition("?")[0].rstrip("/").rpartition("/")[2] or "data.csv"
        raise UsageError(  # without the address, which may hold a password
            f"Data: expected a path or an s3:// URI; web addresses are not read. "
            f"Received: {scheme}://….",
            hint=f"Fetch the file first, with `curl -fL -o {shlex.quote(name)} 'URL'`, and name "
            f"{shlex.quote(name)} in its place.",
        )
    if scheme not in SCHEMES:
        raise UsageError(
            f"Data: expected a path, or a URI that starts with s3://. Received: {scheme}://….",
            hint="Copy the data to a folder or to S3 first.",
        )
    if not rest.partition("/")[0]:
        raise UsageError(
            f"Data: expected s3://BUCKET/KEY. Received: {uri!r}, without a bucket.",
            hint="Name the bucket, and the file or folder in it.",
        )
    return True

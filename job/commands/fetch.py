"""fetch: the files of a published version, from any store, checked by their hashes."""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from job.commands.app import STORE, USE, Ref, app, example, versions_of
from job.config.options import from_config
from job.errors import AccessDenied, DataNotFound, StoreError, UsageError

if TYPE_CHECKING:
    from job.registry import Versions
    from job.registry.manifest import Manifest

REPORT, SAVED_MODEL = "report.html", "saved_model/"


@app.command(
    rich_help_panel=USE,
    epilog=example(
        "mlp-job fetch champion churn --name churn",
        "mlp-job fetch latest . --report --name churn",
        "mlp-job fetch champion serving/churn --serving --name churn --store s3://models",
    ),
)
@from_config(STORE)
def fetch(
    ref: Ref,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    report: Annotated[bool, typer.Option("--report", help="Only report.html.")] = False,
    serving: Annotated[
        bool,
        typer.Option("--serving", help="Only the model, as FOLDER/VERSION for TensorFlow Serving."),
    ] = False,
    **store: Any,
) -> None:
    """Download what a version holds, and check every file by its hash.

    A file that is there already stays if it is the same, and ends the command with 2 if not.
    """
    if report and serving:
        raise UsageError(
            "Expected --report or --serving. Received: both.", hint="Run the command twice."
        )
    versions = versions_of(**store)
    manifest = versions.resolve(ref)
    places = {
        path: place
        for path in manifest.files
        if (place := _place(path.partition("/")[2], manifest.version, report, serving))
    }
    if not places:
        raise DataNotFound(
            f"Expected {REPORT if report else SAVED_MODEL} in {manifest.name} version "
            f"{manifest.version}. Received: {', '.join(sorted(manifest.files))}.",
            hint="Fetch another version, or all files.",
        )
    try:
        count = _fetch(versions, manifest, places, folder)
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"Expected room in {folder}. Received: {exc}.", hint="Free some space."
            ) from exc
        raise AccessDenied(
            f"Expected a folder that can be written. Received: {exc}.", hint="Choose another."
        ) from exc
    where = folder / REPORT if report else folder / str(manifest.version) if serving else folder
    same = "" if count else ", as it was"
    print(f"{manifest.name} version {manifest.version}: {where}{same}")


def _place(path: str, version: int, report: bool, serving: bool) -> str:
    """Where a file of a version goes below the folder; empty if it is not wanted."""
    if report:
        return path if path == REPORT else ""
    if serving:
        inner = path.removeprefix(SAVED_MODEL)
        return f"{version}/{inner}" if inner != path else ""
    return path


def _fetch(
    versions: "Versions", manifest: "Manifest", places: Mapping[str, str], folder: Path
) -> int:
    """Downloads the files that are missing; returns how many.

    Raises:
        UsageError: Another file has the place of one.
        DataNotFound, DataError, StoreError, AccessDenied: As `Versions.fetch`.
    """
    from job.registry.integrity import difference

    missing = []
    for path, place in places.items():
        target = folder / place
        if not target.exists():
            missing.append(path)
        elif difference(target, manifest.files[path]):
            raise UsageError(
                f"{target}: expected no file, or that of {manifest.name} version "
                f"{manifest.version}. Received: another one.",
                hint="Choose another folder, or move the file away.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it gets there by renaming: readers never see a part of it.
    with tempfile.TemporaryDirectory(prefix=".mlp-job-", dir=folder) as name:
        fetched = Path(name)
        versions.fetch(manifest, missing, fetched)
        arranged = fetched / "arranged"
        arranged.mkdir()
        for path in missing:
            (arranged / places[path]).parent.mkdir(parents=True, exist_ok=True)
            (fetched / path).rename(arranged / places[path])
        _merge(arranged, folder)
    return len(missing)


def _merge(source: Path, target: Path) -> None:
    """Moves what is in a folder into another; a folder that is new there moves as a whole."""
    for entry in sorted(source.iterdir()):
        if entry.is_dir() and (target / entry.name).is_dir():
            _merge(entry, target / entry.name)
        else:
            shutil.move(entry, target / entry.name)

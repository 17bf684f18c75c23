"""What readers see of a published model: pointer, then manifest, then files, hashes checked."""

import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from job.errors import DataError, DataNotFound, UsageError
from job.registry.integrity import FileCheck, Verification, difference
from job.registry.manifest import Manifest
from job.registry.pointer import Champion, Pointer, status
from job.storage import Store
from job.storage.documents import decode

NUMBER = re.compile(r"[1-9][0-9]{0,17}")
RECENT = 20
"""Versions that a report's trend line goes back."""
READERS = 8
"""Manifests that are read at a time for a listing."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One version in a listing.

    Attributes:
        version: Its number.
        manifest: None when it is damaged.
        problem: What is wrong with the manifest; empty when nothing is.
        champion: True for the version that the pointer names.
        status: What became of it, in two or three words.
    """

    version: int
    manifest: Manifest | None
    problem: str
    champion: bool
    status: str


class Versions:
    """The published versions of one model, for reading.

    Args:
        store: Where they are.
        name: The model's name.

    Attributes:
        pointer: Which of them is the champion.
    """

    def __init__(self, store: Store, name: str):
        self.store = store
        self.name = name
        self.pointer = Pointer(store, name)

    def champion(self) -> Champion | None:
        """What the pointer says, or None before the first promotion."""
        return self.pointer.read()[0]

    def resolve(self, ref: str) -> Manifest:
        """The manifest of a version.

        Args:
            ref: A version number; `champion`, which never lists; or `latest`, the highest
                number with a manifest.

        Raises:
            UsageError: Another reference.
            DataNotFound: No such version; the message tells which there are.
            DataError: The manifest is damaged, or not the one that the pointer vouches for.
        """
        return self.resolved(ref)[0]

    def fetch(self, manifest: Manifest, paths: Iterable[str], folder: Path) -> None:
        """Downloads files of a version and checks each one's size and SHA-256.

        Args:
            manifest: The version.
            paths: Keys of `manifest.files`.
            folder: Gets the files under their paths.

        Raises:
            DataNotFound: The manifest names no such file, or the store has lost it.
            DataError: A file is not the one that was published.
        """
        for path in paths:
            if path not in manifest.files:
                raise DataNotFound(
                    f"Expected a file of {self.name} version {manifest.version}. "
                    f"Received: {path!r}; it has {', '.join(sorted(manifest.files))}.",
                    hint="Take another version: this one was published without that file.",
                )
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            self.store.download(self.key(manifest.version, path), target)
            problem = difference(target, manifest.files[path])
            if problem:
                target.unlink()
                raise DataError(
                    f"{self.name} version {manifest.version}, {path}: {problem}.",
                    hint="The file was damaged after publishing: roll back, or train again.",
                )

    def verify(self, ref: str) -> Verification:
        """Downloads and hashes every file of a version."""
        return self.hashed(self.resolve(ref))

    def recent(self) -> tuple[Manifest, ...]:
        """The newest versions' manifests, oldest first; damaged ones are left out."""
        listed = self.listed(self.numbers()[-RECENT:])
        return tuple(each.manifest for each in reversed(listed) if each.manifest)

    def versions(self) -> tuple[Listed, ...]:
        """Every version with a manifest, also a damaged one, and the champion; newest first."""
        champion = self.champion()
        return self.listed(sorted({*self.numbers(), *([champion.version] if champion else [])}))

    def listed(self, numbers: Sequence[int]) -> tuple[Listed, ...]:
        """Those of some versions that have a manifest, or reign without; the last first."""
        champion = self.champion()
        with ThreadPoolExecutor(READERS) as pool:
            listed = pool.map(lambda version: self._listed(version, champion), numbers)
            return tuple(each for each in listed if each is not None)[::-1]

    def _listed(self, version: int, champion: Champion | None) -> Listed | None:
        manifest, problem = None, ""
        reigns = champion is not None and version == champion.version
        try:
            manifest, _ = self.manifest(version)
        except DataNotFound:
            if not reigns:
                return None
            problem = "expected a manifest, received none"
        except DataError as exc:
            problem = exc.message
        return Listed(
            version=version,
            manifest=manifest,
            problem=problem,
            champion=reigns,
            status=status(champion, version, promote=bool(manifest and manifest.verdict.promote)),
        )

    def hashed(self, manifest: Manifest) -> Verification:
        """Downloads and hashes every file of a version."""
        with tempfile.TemporaryDirectory(prefix="mlp-job-") as scratch:
            target = Path(scratch) / "file"
            checks = []
            for path, record in sorted(manifest.files.items()):
                try:
                    self.store.download(self.key(manifest.version, path), target)
                    problem = difference(target, record)
                except DataNotFound:
                    problem = "expected a file, received none"
                checks.append(FileCheck(path=path, size=record.size, problem=problem))
        return Verification(version=manifest.version, files=tuple(checks))

    def resolved(self, ref: str) -> tuple[Manifest, str]:
        """As `resolve`, with the SHA-256 (hex) of the manifest's bytes."""
        if NUMBER.fullmatch(ref):
            try:
                return self.manifest(int(ref))
            except DataNotFound as exc:
                raise self._no_version(ref) from exc
        if ref == "champion":
            return self._reigning()
        if ref == "latest":
            for number in reversed(self.numbers()):
                try:
                    return self.manifest(number)
                except DataNotFound:
                    continue  # claimed, and not or not yet complete
            raise self._no_version(ref)
        raise UsageError(
            f"Expected a version number, champion or latest. Received: {ref!r}.",
            hint="`mlp-job models` lists the versions.",
        )

    def _reigning(self) -> tuple[Manifest, str]:
        champion = self.champion()
        if champion is None:
            raise DataNotFound(
                f"Expected a champion of {self.name} in {self.store.uri}. Received: none yet.",
                hint="`mlp-job models` lists the versions, `mlp-job promote` chooses one.",
            )
        return self.vouched(champion.version, champion.manifest_sha256)

    def vouched(self, version: int, sha256: str) -> tuple[Manifest, str]:
        """The version's manifest, when it is still the one with this hash."""
        try:
            manifest, received = self.manifest(version)
        except DataNotFound as exc:
            raise DataNotFound(
                f"Expected {self.name} version {version} in {self.store.uri}, which champion.json "
                "names. Received: no manifest.",
                hint="`mlp-job promote VERSION` chooses another one, `mlp-job rollback` goes back.",
            ) from exc
        if received != sha256:
            raise DataError(
                f"{self.name} version {version}, manifest.json: expected SHA-256 {sha256}. "
                f"Received: {received}.",
                hint="The manifest was changed after publishing: roll back, or train again.",
            )
        return manifest, sha256

    def manifest(self, version: int) -> tuple[Manifest, str]:
        """A version's manifest and the SHA-256 (hex) of its bytes."""
        key = self.key(version, "manifest.json")
        data, _ = self.store.read(key)
        manifest = decode(data, Manifest, uri=f"{self.store.uri}/{key}")
        if (manifest.name, manifest.version) != (self.name, version):
            raise DataError(
                f"{self.store.uri}/{key}: expected the manifest of {self.name} version {version}. "
                f"Received: that of {manifest.name} version {manifest.version}.",
                hint="Copy whole stores only, and never one version over another.",
            )
        return manifest, hashlib.sha256(data).hexdigest()

    def numbers(self) -> list[int]:
        """The numbers that were ever claimed, ascending."""
        folders = self.store.folders(f"{self.name}/versions")
        return sorted(int(folder) for folder in folders if NUMBER.fullmatch(folder))

    def _no_version(self, ref: str) -> DataNotFound:
        sound = (str(each.version) for each in self.versions() if each.manifest)
        there = ", ".join(sound) or "no version"
        return DataNotFound(
            f"Expected {self.name} version {ref} in {self.store.uri}. Received: {there}.",
            hint="`mlp-job models` lists what there is.",
        )

    def key(self, version: int, path: str) -> str:
        """The key of a file of a version."""
        return f"{self.name}/versions/{version}/{path}"


def names(store: Store) -> list[str]:
    """The models in a store; DataNotFound when there is no such store."""
    return [name for name in store.folders("") if any(store.folders(f"{name}/versions"))]

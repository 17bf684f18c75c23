"""The checks of `doctor`: store, scratch disk, data and device, one after the other."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from job import data, device
from job.commands.doctor import resume_proof
from job.config import Config
from job.errors import JobError, StoreError
from job.models import plan
from job.process.scratch import scratch
from job.registry import Versions, publish
from job.storage import Access, open_store, use

SCRATCH_BYTES = 256 * 2**20
"""What staging, exports and a report of the default job need, with room to spare."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One proof.

    Attributes:
        name: What was proved.
        found: What was seen, or what went wrong.
        error: What ended the check, or None when it went well.
    """

    name: str
    found: str
    error: JobError | None = None


def run(config: Config, *, resume: bool = False) -> tuple[Check, ...]:
    """Runs every check, also when an earlier one failed.

    Args:
        config: What a run would be told.
        resume: Prove as well, by trial, that a killed run ends with the same bits.
    """
    use(Access.of(config.data, config.publishing))
    with scratch() as folder:
        checks: tuple[Check, ...] = (
            _check("store", lambda: _store(config)),
            _check("scratch", lambda: _scratch(folder)),
            _check("data", lambda: _data(config, folder)),
            _check("device", lambda: _device(config)),
        )
        if resume:
            checks += (_check("resume", lambda: resume_proof.prove(config, folder / "proof")),)
    return checks


def _check(name: str, proof: Callable[[], str]) -> Check:
    try:
        return Check(name=name, found=proof())
    except JobError as error:
        return Check(name=name, found=error.message, error=error)


def _store(config: Config) -> str:
    versions = Versions(open_store(config.publishing.store), config.model_name)
    publish.check(versions)
    return f"{config.publishing.store} takes writes and honours conditional ones."


def _scratch(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < SCRATCH_BYTES:
        raise StoreError(
            f"Expected {SCRATCH_BYTES / 2**20:.0f} MiB free in {folder.parent}. "
            f"Received: {free / 2**20:.0f} MiB.",
            hint="Free some space, or point TMPDIR to a larger disk.",
        )
    return f"{free / 2**30:.1f} GiB free in {folder.parent}."


def _data(config: Config, scratch: Path) -> str:
    dataset = data.load(
        config.data.data,
        test_uri=config.data.test_data,
        validation_split=plan.holdout(config),
        scratch=scratch,
        reading=config.data,
    )
    return (
        f"{config.data.data} has {len(dataset.train):,} rows to train and {len(dataset.test):,} to "
        f"test in {len(dataset.classes)} classes."
    )


def _device(config: Config) -> str:
    info = device.prepare(
        config.training.device,
        xla=config.training.xla,
        repeatable=not plan.convolves(config),
        devices=config.training.devices,
    )
    return f"{info.kind.upper()}, {info.title}."

"""Training a published version again from its manifest, and comparing what comes out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from job import device
from job.config import Config, Device
from job.errors import DataError
from job.experiment import inherited, read, train_and_score
from job.inference import scoring
from job.models import plan
from job.process.scratch import scratch
from job.process.timing import Clock
from job.registry.manifest import Manifest
from job.storage import Access, use
from job.versions import library_versions

if TYPE_CHECKING:
    from job.device import DeviceInfo
    from job.registry import Versions


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of training again.

    Attributes:
        version: The version that was to be reproduced.
        same_bits: Every weight is the published one, bit for bit.
        accuracy: Test accuracy of the new model.
        published_accuracy: That of the published one.
        interval: The published one's 95 % interval.
        differences: What is otherwise than it was: device and versions → (then, now).
        repeats: The run was exact, and the device gives the same bits for the same program; see
            `device.repeats`.
    """

    version: int
    same_bits: bool
    accuracy: float
    published_accuracy: float
    interval: tuple[float, float]
    differences: Mapping[str, tuple[str, str]]
    repeats: bool

    @property
    def expected(self) -> bool:
        """What may be expected: the same bits where nothing differs, else the same accuracy."""
        return self.same_bits or (not self.wants_bits and self.same_accuracy)

    @property
    def wants_bits(self) -> bool:
        """Nothing differs that the bits depend on."""
        return self.repeats and not self.differences

    @property
    def same_accuracy(self) -> bool:
        """The new model's accuracy lies in the published one's interval."""
        return self.interval[0] <= self.accuracy <= self.interval[1]


def reproduce(versions: "Versions", ref: str, on: Device) -> Reproduction:
    """Trains a version again; nothing is published.

    Args:
        versions: The model's versions.
        ref: A version number, champion or latest.
        on: The device to train on.

    Raises:
        DataNotFound: No such version, or its data is gone.
        DataError: The data, or the version, is not what it was.
        JobError: Whatever else can end a run.
    """
    manifest = versions.resolve(ref)
    config = Config.recorded(manifest.config)
    limited_at = manifest.time_limited
    if limited_at is None:  # no clock may end what it did not end then
        config = config.replaced(time_limit=None)
    use(Access.of(config.data))
    info = device.prepare(on, xla=config.training.xla, repeatable=not plan.convolves(config))
    with scratch() as folder:
        dataset = read(config, folder, recipe=inherited(versions, manifest), like=manifest)
        if dataset.digest != manifest.data.digest:
            raise DataError(
                f"{config.data.data}: expected the data of {manifest.name} version "
                f"{manifest.version}, SHA-256 {manifest.data.digest}. Received: {dataset.digest}.",
                hint="The data has changed since: bring the old data back.",
            )
        fit = train_and_score(config, dataset, info, clock=Clock(), limited_at=limited_at)
        published = scoring.loaded(versions, manifest, folder)
    return Reproduction(
        version=manifest.version,
        same_bits=_same_bits(fit.network, published),
        accuracy=fit.metrics.accuracy,
        published_accuracy=manifest.metrics.accuracy,
        interval=manifest.metrics.accuracy_interval,
        differences=_differences(manifest, info),
        repeats=manifest.exact is not False and device.repeats(info, xla=config.training.xla),
    )


def _same_bits(ours: Any, theirs: Any) -> bool:
    """The trained weights are equal; what stands before them follows from the data alone."""
    new, old = ([np.asarray(w) for w in each.trainable_weights] for each in (ours, theirs))
    return len(new) == len(old) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(new, old, strict=True)
    )


def _differences(manifest: Manifest, info: "DeviceInfo") -> Mapping[str, tuple[str, str]]:
    then = {f"device {k}": str(v) for k, v in {"count": 1, **manifest.device}.items()}
    then |= manifest.library_versions
    now = {f"device {k}": str(v) for k, v in dataclasses.asdict(info).items()}
    now |= library_versions()
    return {
        name: (then.get(name, "–"), now.get(name, "–"))
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    }

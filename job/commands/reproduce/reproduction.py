"""Training a published version again from its manifest, and comparing what comes out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from job import data, device, evaluation, models, provenance, training
from job.config import Config, Device
from job.errors import DataError
from job.inference import scoring
from job.models import plan
from job.process.scratch import scratch
from job.registry.manifest import Manifest
from job.storage import Access, use

if TYPE_CHECKING:
    from job.device import DeviceInfo
    from job.registry import Registry


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
    """

    version: int
    same_bits: bool
    accuracy: float
    published_accuracy: float
    interval: tuple[float, float]
    differences: Mapping[str, tuple[str, str]]

    @property
    def expected(self) -> bool:
        """What may be expected: the same bits where nothing differs, else the same accuracy."""
        return self.same_bits or (bool(self.differences) and self.same_accuracy)

    @property
    def same_accuracy(self) -> bool:
        """The new model's accuracy lies in the published one's interval."""
        return self.interval[0] <= self.accuracy <= self.interval[1]


def reproduce(registry: "Registry", ref: str, on: Device) -> Reproduction:
    """Trains a version again; nothing is published.

    Args:
        registry: Where the version is.
        ref: A version number, champion or latest.
        on: The device to train on.

    Raises:
        DataNotFound: No such version, or its data is gone.
        DataError: The data, or the version, is not what it was.
        JobError: Whatever else can end a run.
    """
    manifest = registry.resolve(ref)
    config = Config.recorded(manifest.config)
    use(Access.of(config.data))
    info = device.prepare(on, xla=config.training.xla)
    with scratch() as folder:
        dataset = data.load(
            config.data.data,
            test_uri=config.data.test_data,
            validation_split=plan.holdout(config),
            scratch=folder,
            reading=config.data,
        )
        if dataset.digest != manifest.data.digest:
            raise DataError(
                f"{config.data.data}: expected the data of {manifest.name} version "
                f"{manifest.version}, SHA-256 {manifest.data.digest}. Received: {dataset.digest}.",
                hint="The data has changed since: bring the old data back.",
            )
        network = training.fit(models.build(config, dataset), dataset, config).network
        published = scoring.loaded(registry, manifest, folder)
    probabilities = training.predict(network, dataset.test.x)
    metrics = evaluation.evaluate(probabilities, dataset.test.y, dataset.classes)
    return Reproduction(
        version=manifest.version,
        same_bits=_same_bits(network, published),
        accuracy=metrics.accuracy,
        published_accuracy=manifest.metrics.accuracy,
        interval=manifest.metrics.accuracy_interval,
        differences=_differences(manifest, info),
    )


def _same_bits(ours: Any, theirs: Any) -> bool:
    """The trained weights are equal; what stands before them follows from the data alone."""
    new, old = ([np.asarray(w) for w in each.trainable_weights] for each in (ours, theirs))
    return len(new) == len(old) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(new, old, strict=True)
    )


def _differences(manifest: Manifest, info: "DeviceInfo") -> Mapping[str, tuple[str, str]]:
    then = {f"device {k}": str(v) for k, v in manifest.device.items()}
    then |= manifest.library_versions
    now = {f"device {k}": str(v) for k, v in dataclasses.asdict(info).items()}
    now |= provenance.library_versions()
    return {
        name: (then.get(name, "–"), now.get(name, "–"))
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    }

"""The error tree: one class per consequence, each with its exit code and its Job rule.

JobError
├── UsageError            2   fix the options
├── GateRejected          3   look at the model, promote by hand or leave it
├── DataError            65   fix the data
├── DataNotFound         66   fix the path, bucket or key
├── DeviceUnavailable    69   try again on another node
├── TrainingDiverged     70   lower the learning rate or clean the data
├── DeviceOutOfMemory    71   smaller batches, less data or a larger device
├── StoreError           74   try again when the storage is back
├── PeerLost             75   nothing: the Job starts the workers again
├── AccessDenied         77   fix the credentials or the store
├── Interrupted         130   nothing: the user pressed Ctrl-C
└── Preempted           143   nothing: the Job starts another pod
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

Rule = Literal["Count", "FailJob", "Ignore"]
"""What a Kubernetes Job's `podFailurePolicy` does with an exit code."""


class JobError(Exception):
    """An end that a person or a scheduler acts on.

    Args:
        message: What was expected and what was received.
        hint: What to do next; one sentence or two.
        details: What the termination message tells besides (JSON values).
    """

    exit_code: ClassVar[int]
    rule: ClassVar[Rule | None]

    def __init__(self, message: str, *, hint: str, details: Mapping[str, object] | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = dict(details or {})


class UsageError(JobError):
    """A bad option or value, or another configuration or data set under a used run id."""

    exit_code = 2
    rule = "FailJob"


class GateRejected(JobError):
    """Trained and published, but not promoted."""

    exit_code = 3
    rule = "FailJob"


class DataError(JobError):
    """The data, or what a store holds, is there and bad."""

    exit_code = 65
    rule = "FailJob"


class DataNotFound(JobError):
    """No such file, bucket, key or version to read."""

    exit_code = 66
    rule = "FailJob"


class DeviceUnavailable(JobError):
    """A GPU was asked for and none works."""

    exit_code = 69
    rule = "Count"


class TrainingDiverged(JobError):
    """The loss or the weights are not finite."""

    exit_code = 70
    rule = "FailJob"


class DeviceOutOfMemory(JobError):
    """The memory of the device, or of the machine, ran out."""

    exit_code = 71
    rule = "FailJob"


class StoreError(JobError):
    """Storage kept failing and the retries are spent, or the disk is full."""

    exit_code = 74
    rule = "Count"


class DiskFull(StoreError):
    """The scratch disk has no room for the data: another try in this pod would not find more."""


class PeerLost(JobError):
    """Another host of the training was lost, cannot be reached, or has failed."""

    exit_code = 75
    rule = "Ignore"


class AccessDenied(JobError):
    """Wrong credentials, no such store, or a store that cannot be written safely."""

    exit_code = 77
    rule = "FailJob"


class Interrupted(JobError):
    """The user pressed Ctrl-C; nobody does in a Job."""

    exit_code = 130
    rule = None


class Preempted(JobError):
    """The pod was told to stop (SIGTERM)."""

    exit_code = 143
    rule = "Ignore"

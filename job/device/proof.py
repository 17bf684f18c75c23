"""The devices to train on, proved by real work; TensorFlow's errors about them stop here."""

import contextlib
import ctypes
import importlib
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from job.config import Device
from job.errors import DeviceOutOfMemory, DeviceUnavailable, UsageError
from job.process.cores import cores
from job.process.log import WARNING, event

if TYPE_CHECKING:
    from job.device.peers import Peers

FORBIDDEN = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
"""Keras cuts training short when these are set, with a mere warning."""

UNUSED = ("matplotlib", "sklearn")
"""Packages that Keras imports where they are installed, for what the job never calls: a second.

Not pandas: pyarrow looks for it, too, in the thread that reads a table, and fails on a None.
"""

SPENT = ("Dst tensor is not initialized", "Cannot parse tensor from proto")
"""TensorFlow's other words for spent memory: for a table on a GPU, and for a constant of a graph
that its optimiser made."""

NOISE = (b"I0000", b"WARNING: All log messages before absl", b"failed call to cuInit")


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What the manifest tells about the device.

    Attributes:
        kind: Where the model is trained.
        name: The maker's name of the processor or GPU.
        cores: Processor cores that this process may use.
        driver: Version of the NVIDIA driver, when it is known.
        cuda: CUDA version that TensorFlow was built with; GPU only.
        compute_capability: As "9.0"; GPU only.
        count: Devices of this kind that train together, of all hosts.
        hosts: How many hosts they are in.
    """

    kind: Literal["cpu", "gpu"]
    name: str
    cores: int
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    count: int = 1
    hosts: int = 1

    @property
    def title(self) -> str:
        """What people read: the name, and how many there are."""
        where = f" on {self.hosts} hosts" if self.hosts > 1 else ""
        return self.name if self.count == 1 else f"{self.count} × {self.name}{where}"

    @property
    def identity(self) -> str:
        """What the bits of a model depend on: sums are split among devices and cores."""
        one = self.name if self.kind == "gpu" else f"{self.name}, {self.cores} cores"
        where = f" on {self.hosts} hosts" if self.hosts > 1 else ""
        return one if self.count == 1 else f"{self.count} × {one}{where}"


def configure_environment() -> None:
    """Sets what TensorFlow and Keras read when they are imported.

    Raises:
        UsageError: A variable is set that would cut training short.
    """
    for name in FORBIDDEN:
        if os.environ.get(name):
            raise UsageError(
                f"{name}: expected it to be unset, since Keras would end training early. "
                f"Received: {os.environ[name]!r}.",
                hint=f"Unset {name} and use --epochs.",
            )
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def import_libraries() -> bool:
    """Imports TensorFlow and Keras, which takes seconds; may run in a thread.

    Returns:
        Whether it did: False when they were imported before.

    Raises:
        UsageError: A variable is set that would cut training short.
    """
    configure_environment()
    first = "tensorflow" not in sys.modules
    if first:
        event("import.started", "Importing TensorFlow, which takes some seconds.")
    hidden = [name for name in UNUSED if first and sys.modules.setdefault(name, None) is None]  # type: ignore[arg-type]
    try:
        with _quiet():
            importlib.import_module("keras")
    finally:
        for name in hidden:
            del sys.modules[name]
    return first


def may_have_gpu() -> bool:
    """Whether the system shows an NVIDIA GPU; its driver is not touched."""
    return Path("/dev/dxg").exists() or any(Path("/dev").glob("nvidia*"))


def prepare(
    device: Device,
    *,
    xla: bool = True,
    repeatable: bool = True,
    devices: str = "1",
    peers: "Peers | None" = None,
) -> DeviceInfo:
    """Chooses and proves the devices.

    Args:
        device: `cpu` hides every GPU; `gpu` insists on one that works; `auto` takes one that
            works, and the CPU with a warning otherwise.
        xla: Prove XLA's compiler on the GPU as well.
        repeatable: Ask XLA for programs that give the same bits each time on a GPU. Convolutions
            are ten times slower that way.
        devices: How many, or `all` GPUs. So many of a CPU are virtual ones that share its cores.
        peers: Other hosts that train along, with as many devices each; they are connected.

    Raises:
        DeviceUnavailable: `gpu` or more than one was asked for, and so many do not work; or the
            hosts have different ones.
        UsageError: A variable is set that would cut training short.
    """
    import_libraries()
    import tensorflow as tf

    if repeatable and device != "cpu" and may_have_gpu():
        from job.device import gpu

        gpu.ask_for_repeatable()
    count = None if devices == "all" else int(devices)
    with _quiet():
        insist = device == "gpu" or (count or 1) > 1 or peers is not None
        info = _gpu(xla, insist, count, peers) if device != "cpu" else None
        if info is None:
            tf.config.set_visible_devices([], "GPU")
            info = _cpu(count or 1)
            if peers:
                peers.connect("cpu", info.count)
    return replace(info, count=info.count * peers.hosts, hosts=peers.hosts) if peers else info


def repeats(info: DeviceInfo, *, xla: bool) -> bool:
    """Whether the same program gives the same bits again on the device.

    On a GPU only XLA does, and only when it was asked to; TensorFlow's own kernels do not, and
    several devices have no others.
    """
    from job.device import gpu

    return info.kind == "cpu" or (xla and info.count == 1 and gpu.is_repeatable())


def peak_memory_mb() -> float:
    """The largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def release_memory() -> None:
    """Gives freed memory back to the system, which glibc's allocator does not do of itself."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def gpu_peak_memory_mb() -> float | None:
    """The most GPU memory that TensorFlow held so far, in MiB; None without a GPU."""
    import tensorflow as tf

    if not tf.config.get_visible_devices("GPU"):
        return None
    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20


def gpu_memory_bytes() -> int | None:
    """The GPU's own memory; None where there is none, or its driver does not say."""
    from job.device import gpu

    return gpu.total_memory()


@contextlib.contextmanager
def foreign_errors(
    *, batch_size: int, data_bytes: int, image_size: tuple[int, ...] = ()
) -> Iterator[None]:
    """Maps MemoryError and TensorFlow's error about spent memory; others pass.

    Args:
        batch_size: Rows of a training step.
        data_bytes: Of the rows on the device.
        image_size: Height and width, where the rows are images.

    Raises:
        DeviceOutOfMemory: The device's memory ran out.
    """
    import tensorflow as tf

    try:
        yield
    except (MemoryError, tf.errors.OpError) as exc:
        spent = isinstance(exc, (MemoryError, tf.errors.ResourceExhaustedError))
        if not spent and not any(words in str(exc) for words in SPENT):
            raise
        rows, smaller = "rows", "--batch-size"
        details: dict[str, object] = {"batch_size": batch_size, "data_bytes": data_bytes}
        if image_size:
            details["image_size"] = list(image_size)
            rows = f"images of {' × '.join(map(str, image_size))} pixels"
            smaller += " or --image-size"
        raise DeviceOutOfMemory(
            f"Expected the device's memory to hold the data ({data_bytes / 2**20:.0f} MiB) and "
            f"batches of {batch_size} {rows}. Received: {_cause(exc)}",
            hint=f"Use a smaller {smaller}, fewer --hidden units, less data, or a larger device.",
            details=details,
        ) from exc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what TensorFlow's C++ prints before it reads TF_CPP_MIN_LOG_LEVEL; warnings pass.

    So does what it says of a missing driver, since `gpu.prove` says that in words of its own.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            notes.seek(0)
            for line in notes:
                if not any(noise in line for noise in NOISE):
                    os.write(2, line)


def _gpu(xla: bool, insist: bool, count: int | None, peers: "Peers | None") -> DeviceInfo | None:
    from job.device import gpu

    try:
        connect = partial(peers.connect, "gpu") if peers else None
        proof = gpu.prove(xla=xla, count=count, chosen=connect)
    except DeviceUnavailable as error:
        if insist:
            raise
        event("device.missing", f"Training on the CPU. {error.message}", level=WARNING)
        gpu.forget()
        return None
    return DeviceInfo(
        kind="gpu",
        name=proof.name,
        cores=cores(),
        driver=proof.driver,
        cuda=proof.cuda,
        compute_capability=proof.compute_capability,
        count=proof.count,
    )


def _cpu(count: int) -> DeviceInfo:
    if count > 1:
        _split(count)
    name = ""
    with contextlib.suppress(FileNotFoundError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1] for line in lines if line.startswith("model name")), "")
    return DeviceInfo(
        kind="cpu", name=name.strip() or os.uname().machine, cores=cores(), count=count
    )


def _split(count: int) -> None:
    """Makes virtual devices of the CPU; a process can do so once, before TensorFlow has begun."""
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or ()) == count:
        return
    if count > cores():
        raise DeviceUnavailable(
            f"--devices: expected at most {cores()}, one for each processor core. "
            f"Received: {count}.",
            hint="Ask for fewer --devices; those of a CPU are virtual and no faster than one.",
        )
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    tf.config.set_logical_device_configuration(cpu, parts)


def _cause(exc: Exception) -> str:
    """The line that speaks of memory; an error in a graph begins with where it was."""
    lines = str(exc).strip().splitlines() or [type(exc).__name__]
    words = ("OOM", "emory", *SPENT)
    return next((line for line in lines if any(word in line for word in words)), lines[0])

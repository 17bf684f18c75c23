"""Proof that GPUs work: exact products on each that is used, with and without XLA."""

import contextlib
import ctypes
import os
import re
import site
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from job.errors import DeviceUnavailable

CUDA_LIBRARIES = (
    "libcudart.so.12",
    "libcublas.so.12",
    "libcublasLt.so.12",
    "libcufft.so.11",
    "libcusolver.so.11",
    "libcusparse.so.12",
    "libcudnn.so.9",
)
"""What TensorFlow's CUDA 12 build opens before it lists a GPU (the driver apart)."""


REPEATABLE = "--xla_gpu_exclude_nondeterministic_ops"
"""XLA's switch for the same bits every time: it measures no algorithms against each other, whose
winner changes from process to process. Without it, resumed runs on an H100 had other bits."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What is known of GPUs that work; see `job.device.DeviceInfo`."""

    name: str
    count: int
    driver: str | None
    cuda: str | None
    compute_capability: str | None


def prove(
    *, xla: bool, count: int | None = 1, chosen: Callable[[int], None] | None = None
) -> Proof:
    """Multiplies small integers on each GPU that is used and compares with the CPU's product.

    Products of small integers are exact in TF32 as well, so any difference is a fault.

    Args:
        xla: Also through XLA's compiler, which needs more of the driver and the libraries.
        count: How many are used; None for all.
        chosen: Called before the first product with how many there are.

    Raises:
        DeviceUnavailable: Fewer GPUs, or one that does not work; the message says why.
    """
    import tensorflow as tf

    _load_cusolver()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise DeviceUnavailable(
            f"Expected {_counted(count)}. Received: {_why_none(tf)}.",
            hint="On a machine without a GPU use --device cpu.",
        )
    used = gpus[:count]
    if count and len(used) < count:
        raise DeviceUnavailable(
            f"--devices: expected {count} GPUs. Received: {len(used)}.",
            hint="Ask for fewer --devices, or for all; in Kubernetes nvidia.com/gpu gives more.",
        )
    details = tf.config.experimental.get_device_details(used[0])
    name = str(details.get("device_name", "GPU"))
    capability = ".".join(map(str, details.get("compute_capability", ()))) or None
    tf.config.set_visible_devices(used, "GPU")
    for each in used:
        tf.config.experimental.set_memory_growth(each, True)
    if chosen:
        chosen(len(used))
    for number in range(len(used)):
        _expect_work(tf, number, name if len(used) == 1 else f"{name} {number}", capability, xla)
    return Proof(
        name=name,
        count=len(used),
        driver=_driver_version(),
        cuda=tf.sysconfig.get_build_info().get("cuda_version"),
        compute_capability=capability,
    )


def ask_for_repeatable() -> None:
    """Sets the switch for XLA, which reads it before it compiles; what the user set stays."""
    flags = os.environ.get("XLA_FLAGS", "")
    if REPEATABLE not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {REPEATABLE}=true".strip()


def is_repeatable() -> bool:
    """Whether XLA was asked for it."""
    said = re.findall(rf"{REPEATABLE}(?:=(\S*))?", os.environ.get("XLA_FLAGS", ""))
    return bool(said) and said[-1].lower() in ("", "1", "true")


def total_memory() -> int | None:
    """Bytes of the first visible GPU's memory; None where the driver does not say."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, total = ctypes.c_int(0), ctypes.c_size_t(0)
    known = (
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDeviceTotalMem_v2(ctypes.byref(total), device) == 0
    )
    return total.value if known else None


def forget() -> None:
    """Lets the visible devices be chosen anew after a proof that failed.

    TensorFlow fixes them at the first operation. Nothing of ours lives in its context yet, so
    a fresh one is safe; there is no public way.
    """
    from tensorflow.python.eager import context

    context._reset_context()


def _expect_work(tf: Any, number: int, name: str, capability: str | None, xla: bool) -> None:
    try:
        exact = all(
            _multiplies(tf, number, jit=jit) for jit in ((False, True) if xla else (False,))
        )
    except (tf.errors.OpError, RuntimeError) as exc:
        raise DeviceUnavailable(
            f"Expected {name} to multiply two matrices. Received: {_explained(exc, capability)}.",
            hint="Use another GPU type or driver; `mlp-job doctor` tells more.",
        ) from exc
    if not exact:
        raise DeviceUnavailable(
            f"Expected {name} to multiply small integers exactly. Received: a wrong product.",
            hint="This GPU is faulty: drain the node.",
        )


def _multiplies(tf: Any, number: int, *, jit: bool) -> bool:
    rng = np.random.default_rng(0)
    a = rng.integers(-8, 9, (256, 784)).astype(np.float32)
    b = rng.integers(-8, 9, (784, 350)).astype(np.float32)
    soft_placement = tf.config.get_soft_device_placement()
    tf.config.set_soft_device_placement(False)
    try:
        with tf.device(f"/GPU:{number}"):
            product = tf.function(tf.matmul, jit_compile=jit)(tf.constant(a), tf.constant(b))
        return f"GPU:{number}" in product.device and np.array_equal(product.numpy(), a @ b)
    finally:
        tf.config.set_soft_device_placement(soft_placement)


def _counted(count: int | None) -> str:
    return f"{count} GPUs that work" if count and count > 1 else "a GPU that works"


def _why_none(tf: Any) -> str:
    """Why TensorFlow lists no GPU, from the driver upwards."""
    if not tf.test.is_built_with_cuda():
        return "a TensorFlow without CUDA (install mlp-job[gpu])"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 is not here; in a container, `--gpus all`)"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status == 100 or (status == 0 and count.value == 0):  # CUDA_ERROR_NO_DEVICE
        return "a driver that offers no device (is one requested, is one visible?)"
    if status != 0:
        return f"a driver that does not start ({_error_name(driver, status)})"
    missing = [library for library in CUDA_LIBRARIES if not _is_found(library)]
    if missing:
        return f"CUDA libraries missing: {', '.join(missing)} (install mlp-job[gpu])"
    return "a GPU that TensorFlow does not list (its warnings are on standard error)"


def _error_name(driver: ctypes.CDLL, status: int) -> str:
    name = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(name))
    return name.value.decode() if name.value else f"CUDA error {status}"


def _load_cusolver() -> None:
    """Loads cuSOLVER from its wheel; TensorFlow 2.21 does not look there, and skips the GPU.

    Once it is loaded, the loader knows it by its name. What cannot be loaded is named by
    `_why_none`.
    """
    wheel = _in_wheel("libcusolver.so.11")
    if wheel:
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(wheel), mode=ctypes.RTLD_GLOBAL)


def _in_wheel(library: str) -> Path | None:
    """Where one of the nvidia wheels has the library."""
    folders = {Path(folder) for folder in [*site.getsitepackages(), *sys.path]}
    found = (next(folder.glob(f"nvidia/*/lib/{library}"), None) for folder in folders)
    return next(filter(None, found), None)


def _is_found(library: str) -> bool:
    """True when the loader or one of the nvidia wheels has the library."""
    if _in_wheel(library):
        return True
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _explained(exc: Exception, capability: str | None) -> str:
    text = str(exc).strip().split("\n", 1)[0]
    if "no kernel image" in str(exc) or "CUDA_ERROR_NO_BINARY_FOR_GPU" in str(exc):
        return f"no code for this architecture (compute capability {capability}): {text}"
    return text


def _driver_version() -> str | None:
    """The kernel module's version, from the driver's own file in /proc."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return None
    return next((word for word in text.split() if word[0].isdigit() and "." in word), None)

"""The devices: what trains, proved by real work, their memory, and several at once."""

from job.device.proof import (
    DeviceInfo,
    configure_environment,
    foreign_errors,
    gpu_memory_bytes,
    gpu_peak_memory_mb,
    import_libraries,
    may_have_gpu,
    peak_memory_mb,
    prepare,
    release_memory,
    repeats,
)
from job.device.strategy import scope, strategy

__all__ = [
    "DeviceInfo",
    "configure_environment",
    "foreign_errors",
    "gpu_memory_bytes",
    "gpu_peak_memory_mb",
    "import_libraries",
    "may_have_gpu",
    "peak_memory_mb",
    "prepare",
    "release_memory",
    "repeats",
    "scope",
    "strategy",
]

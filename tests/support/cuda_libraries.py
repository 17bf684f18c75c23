"""Run in the gpu image: asks TensorFlow's own loader for the CUDA libraries, one JSON object.

`tsl::internal::DsoLoader` is what TensorFlow calls before it lists a GPU. Its functions have no
Python name, so they are called by their C++ ones: `TryDlopenCUDALibraries` gives up the GPU when
one of seven libraries does not open, and `Get…DsoHandle` opens one. Both return through a hidden
pointer; the first word is an `absl::Status`, and 1 means OK.
"""

import ctypes
import json
import sys
from pathlib import Path

import tensorflow as tf

LIBRARIES = (
    "CudaRuntime",
    "Cublas",
    "CublasLt",
    "Cufft",
    "Cusolver",
    "Cusparse",
    "Cudnn",
    "Cupti",
    "Nccl",
)
CUDNN = tuple(
    f"cudnn/lib/libcudnn_{part}.so.9"
    for part in ("graph", "ops", "cnn", "heuristic", "engines_precompiled")
)
OK = 1


class StatusOr(ctypes.Structure):
    """absl::StatusOr<void*>; the first word alone is absl::Status."""

    _fields_ = (("status", ctypes.c_uint64), ("value", ctypes.c_void_p))


def call(loader: ctypes.CDLL, function: str) -> bool:
    symbol = loader[f"_ZN3tsl8internal9DsoLoader{len(function)}{function}Ev"]
    symbol.argtypes, symbol.restype = [ctypes.c_void_p], None
    result = StatusOr()
    symbol(ctypes.byref(result))
    return result.status == OK


def main() -> None:
    package = Path(tf.__file__).parent
    loader = ctypes.CDLL(str(package / "libtensorflow_framework.so.2"))
    # The gate comes first: a library that was opened by name before would be found by it.
    opens = {"all that a GPU needs": call(loader, "TryDlopenCUDALibraries")}
    opens |= {name: call(loader, f"Get{name}DsoHandle") for name in LIBRARIES}
    # What these libraries open in their turn, when they need it.
    nvidia = package.parent / "nvidia"
    for path in ("cublas/lib/libnvrtc.so.12", *CUDNN):
        opens[path] = bool(ctypes.CDLL(str(nvidia / path)))
    maps = Path("/proc/self/maps").read_text().splitlines()
    loaded = sorted({Path(line.split()[-1]).name for line in maps if f"{nvidia}/" in line})
    json.dump({"opens": opens, "loaded": loaded}, sys.stdout)


if __name__ == "__main__":
    main()

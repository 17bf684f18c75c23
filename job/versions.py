"""The versions of Python, of this package and of the libraries that decide a model's bits."""

import importlib.metadata
import platform
from collections.abc import Mapping

from job import __version__

LIBRARIES = ("keras", "tensorflow", "numpy")
"""The libraries that decide a model's bits."""


def library_versions() -> Mapping[str, str]:
    """Python, this package and the libraries that decide a model's bits → version."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"mlp-job": __version__, "python": platform.python_version(), **libraries}

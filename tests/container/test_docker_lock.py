"""The image's locks: they agree with pyproject.toml, pin by hash and name no address."""

import re
import tomllib

import pytest
from containers import DOCKERFILE, REPOSITORY

LOCKS = ("requirements.txt", "requirements-build.txt")


def text(lock: str) -> str:
    return DOCKERFILE.with_name(lock).read_text()


def pins(lock: str) -> dict[str, str]:
    """Package → version."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", text(lock), re.MULTILINE))


def direct(lock: str) -> dict[str, str]:
    """Package → version of what pyproject.toml asks for itself."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    asked = {
        "requirements.txt": [
            *project["project"]["dependencies"],
            *project["project"]["optional-dependencies"]["gpu"],
        ],
        "requirements-build.txt": [
            *project["dependency-groups"]["build"],
            *project["build-system"]["requires"],
        ],
    }
    return dict(re.sub(r"\[.*?\]", "", pin).split("==") for pin in asked[lock])


@pytest.mark.parametrize("lock", LOCKS)
def test_it_agrees_with_pyproject(lock):
    wanted, locked = direct(lock), pins(lock)
    command = text(lock).splitlines()[1].lstrip("# ")
    assert command.startswith("uv pip compile ")
    assert {name: locked.get(name) for name in wanted} == wanted, f"run: {command}"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes_and_nothing_names_an_address(lock):
    entries = re.split(r"^(?=[^\s#])", text(lock), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(lock))
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in text(lock)
    assert not re.search(r"--(index|extra-index|find-links|trusted-host)", text(lock))


def test_what_is_excluded_was_locked():
    excluded = set(re.findall(r"^[a-z][\w-]*", text("excluded.txt"), re.MULTILINE))
    assert excluded
    assert excluded <= set(pins("requirements.txt"))


def test_the_lock_is_for_the_python_of_the_image():
    dockerfile = DOCKERFILE.read_text()
    version = re.search(r"^ARG PYTHON=python:([\d.]+)-slim", dockerfile, re.MULTILINE)
    assert version
    assert f"--python-version {version[1]} " in text("requirements.txt")
    assert dockerfile.count(version[1]) == 1  # the build argument decides, and no path does

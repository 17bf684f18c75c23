"""The layer rule: a module imports what stands below it, and nothing that stands above."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import job

ROOT = Path(job.__file__).parent
LAYERS = (
    ("process", "errors", "__init__"),
    ("config",),
    ("storage",),
    ("data", "device", "versions"),
    ("models",),
    ("training", "evaluation"),
    ("registry",),
    ("record",),
    ("gate", "drift", "inference", "export"),
    ("report", "track"),
    ("experiment",),
    ("follow",),
    ("pipeline", "search"),
    ("commands",),
    ("cli", "__main__"),
)
"""From the ground up, as DESIGN has it: packages and modules of `job`."""

TELLERS = {"follow", "pipeline", "search", "commands", "cli"}
"""Who may import `events`: all others return or report values."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> Iterator[str]:
    """The rooms of `job` that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            room = rest.partition(".")[0]
            if package == "job" and room in {*LEVEL, "events"}:
                yield room


def modules() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def test_every_room_has_a_layer() -> None:
    rooms = {Path(module).parts[0].removesuffix(".py") for module in modules()}
    assert rooms - set(LEVEL) == {"events"}


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_nothing_from_above(module: str) -> None:
    room = Path(module).parts[0].removesuffix(".py")
    for other in imported(ROOT / module):
        if other == "events":
            assert room in TELLERS, f"{module} imports events"
        elif room != "events":
            assert LEVEL[other] <= LEVEL[room], f"{module} imports {other}, which is above it"

"""Every document: its links lead somewhere, and it names what exists."""

import re

import pytest
from documents import REPOSITORY, document

DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("README.md", "*/README.md", "*/*/README.md", ".github/**/*.md")
    for path in REPOSITORY.glob(pattern)
    if ".venv" not in path.parts
)


def anchors(text: str) -> set[str]:
    """The anchors that the forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document(path)):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (REPOSITORY / path).parent / name if name else REPOSITORY / path
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


def test_the_readme_is_short() -> None:
    readme = document("README.md")
    assert len(readme.splitlines()) <= 150
    assert len(readme.encode()) <= 8 * 1024


def test_the_architecture_names_every_package() -> None:
    table = document("job/README.md")
    for path in (REPOSITORY / "job").iterdir():
        if path.is_dir() and list(path.glob("*.py")):
            assert f"`{path.name}/`" in table, path
        elif path.suffix == ".py" and not path.stem.startswith("__"):
            assert f"`{path.name}`" in table, path

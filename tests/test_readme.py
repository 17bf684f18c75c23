from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_tree_names_every_module():
    _, _, tree = (ROOT / "README.md").read_text().partition("## How it is built")
    for module in (ROOT / "job").rglob("*.py"):
        if not module.name.startswith("__"):
            assert f" {module.name} " in tree, module


def test_the_tree_names_no_module_that_is_gone():
    _, _, tree = (ROOT / "README.md").read_text().partition("## How it is built")
    there = {module.name for module in (ROOT / "job").rglob("*.py")}
    for word in tree.split("docker/")[0].split():
        assert not word.endswith(".py") or word in there, word


def test_every_page_link_has_its_heading():
    readme = (ROOT / "README.md").read_text()
    headings = {
        "#" + line.lstrip("# ").lower().replace(" ", "-").replace(",", "")
        for line in readme.splitlines()
        if line.startswith("#")
    }
    links = {part.split(")")[0] for part in readme.split("](")[1:] if part.startswith("#")}
    assert links <= headings
    assert "<!--" not in readme

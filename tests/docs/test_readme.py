from pathlib import Path

ROOT = Path(__file__).parents[2]


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

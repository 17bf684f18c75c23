"""Commands and blocks of the READMEs, so that tests run what the documents show."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def document(path: str) -> str:
    """A document of the repository, such as `docker/README.md`."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def line(path: str, start: str) -> str:
    """The only line of a document that starts so, without its comment."""
    (found,) = (text for text in document(path).splitlines() if text.startswith(start))
    return found.split(" #")[0]


def block(path: str, language: str, word: str) -> str:
    """The only code block of a document in this language that holds this word."""
    blocks = re.findall(rf"```{language}\n(.*?)```", document(path), re.DOTALL)
    (found,) = (text for text in blocks if word in text)
    return found


def blocks(path: str, title: str) -> list[tuple[str, str]]:
    """(language, code) of each code block in a section, its subsections left out."""
    section = re.split(rf"^#+ {re.escape(title)}$", document(path), flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)

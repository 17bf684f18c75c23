"""The tables of options in job/commands/README.md, made from the configuration.

`uv run python tests/support/options_table.py` writes them there.
"""

import re

from documents import REPOSITORY, document

from job.config import GROUP_OF, OPTIONS, Option, flag

PATH = "job/commands/README.md"
BEGIN, END = "<!-- options: made by tests/support/options_table.py -->\n", "<!-- end -->\n"


def tables() -> str:
    """A table for each group, with default and help of each option."""
    lines = []
    for group in dict.fromkeys(GROUP_OF.values()):
        lines += ["", f"### {group.capitalize()}", "", "| option | default | |", "|---|---|---|"]
        lines += [
            f"| `{flag(name)}` | {default(option)} | {option.help} |"
            for name, option in OPTIONS.items()
            if GROUP_OF[name] == group
        ]
    return "\n".join([*lines, "", ""])


def default(option: Option) -> str:
    if option.annotation is bool:
        return "on" if option.default else "off"
    value = option.default
    value = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return (
        "–" if value in (None, "") else f"`{value:g}`" if value.__class__ is float else f"`{value}`"
    )


def shown() -> str:
    """What the document has."""
    return document(PATH).split(BEGIN)[1].split(END)[0]


if __name__ == "__main__":
    text = document(PATH)
    made = BEGIN + tables() + END
    (REPOSITORY / PATH).write_text(
        re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: made, text, flags=re.DOTALL),
        encoding="utf-8",
    )

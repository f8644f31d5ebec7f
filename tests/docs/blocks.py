"""The fenced blocks of our Markdown files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")],
)
#: What a block can be; a word of another kind would be a block that nothing runs.
LANGUAGES = frozenset(
    {"sh", "console", "yaml", "yaml invalid", "schema", "python", "toml", "text"},
)

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str | None = None) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if language in (None, match[1].strip()):
                yield Block(page, line, match[1].strip(), match[2])


def commands(block: Block) -> list[str]:
    """The commands of a console block: the lines after a prompt."""
    return [line[2:] for line in block.text.splitlines() if line.startswith("$ ")]

"""The schema blocks of our pages, as the files they are or stand for.

A block with a `domain` is a whole file. One without is the attributes of a kind `widget`, in a
file with what they may refer to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import indent
from typing import Any

from miren.base.yaml import parse
from tests.docs.blocks import Block, blocks

__all__ = ["attributes_in", "file_of", "schema_blocks"]

_AROUND = """
domain: example.dev
version: v1
components:
  port:
    $options: {shorthand: number}
    number: {type: int, required: true}
kinds:
  app: {}
  node: {}
  widget:
"""


def schema_blocks(page: str) -> list[Block]:
    """Return the schema blocks of a page by its name."""
    return [block for block in blocks("schema") if block.page.name == page]


def file_of(block: Block) -> tuple[str, str]:
    """Return the name and text of the schema file that a block is."""
    named = re.match(r"# (\S+)", block.text)
    if re.search("^domain:", block.text, re.MULTILINE):
        return named[1] if named else "widgets.yml", block.text
    return "widgets.yml", _AROUND + indent(block.text, "    ")


def data_of(block: Block) -> dict[str, Any]:
    """Return the content of that file."""
    name, text = file_of(block)
    parsed = parse(text, name)
    assert not parsed.problems
    data = parsed.documents[0].value
    assert isinstance(data, dict)
    return data


def attributes_in(block: Block) -> Iterator[dict[str, Any]]:
    """Yield every attribute that a block writes, at any depth."""
    data = data_of(block)
    for part in ("components", "kinds"):
        for written in data.get(part, {}).values():
            for name, attribute in written.items():
                if name != "$options":
                    yield from _inside(attribute)


def _inside(attribute: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield attribute
    for inner in attribute.get("attrs", {}).values():
        yield from _inside(inner)
    if isinstance(attribute.get("of"), dict):
        yield from _inside(attribute["of"])

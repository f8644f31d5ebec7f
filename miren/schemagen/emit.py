"""Python source in the formatter's own style, line by line.

Generated files are committed and read, so they come out as `ruff format` would leave them and
need no formatter where they are made. Two rules do it: what fits in a line stays in one, and
what does not is written one item a line with a comma after each, which the formatter keeps.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Code", "Group", "Item", "quote"]

WIDTH = 99


def quote(text: str) -> str:
    """Return `text` as a Python literal in double quotes, unless single ones save escapes."""
    literal = repr(text)
    if literal[0] == '"':
        return literal
    inner = literal[1:-1].replace("\\'", "'")
    if '"' not in inner:
        return f'"{inner}"'
    return literal if "'" not in inner else '"' + inner.replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Group:
    """Items between brackets: a call, a tuple, a subscript. `opening` ends with the bracket."""

    opening: str
    items: tuple[Item, ...]
    closing: str

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.items))
        is_tuple = self.opening == "(" or self.opening.endswith(("=(", " ("))
        comma = "," if is_tuple and len(self.items) == 1 else ""
        return f"{self.opening}{inner}{comma}{self.closing}"


Item = str | Group


class Code:
    """Lines of source under construction, at the current depth of indentation."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def text(self) -> str:
        """Return the source so far, with one line break at the end."""
        return "\n".join(self._lines).rstrip("\n") + "\n"

    def line(self, text: str = "") -> None:
        """Add one line."""
        self._lines.append(" " * 4 * self._depth + text if text else "")

    def blank(self, count: int = 1) -> None:
        """Add empty lines."""
        self._lines.extend([""] * count)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Write what is inside one level deeper."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def docstring(self, text: str) -> None:
        """Add a docstring, wrapped; nothing for an empty text."""
        text = text.strip().replace("\\", "\\\\").replace('"""', "'''")
        if not text:
            return
        if text.endswith('"'):
            text += " "
        whole = f'"""{text}"""'
        if "\n" not in text and len(whole) <= self._room():
            self.line(whole)
            return
        lines = self._wrapped(text)
        self.line('"""' + lines[0])
        for line in lines[1:]:
            self.line(line)
        self.line('"""')

    def bracketed(self, group: Group, *, after: str = "", exploded: bool = False) -> None:
        """Add a group in one line, or an item a line where it is long or to be `exploded`."""
        single = str(group) + after
        if not exploded and len(single) <= self._room():
            self.line(single)
            return
        self.line(group.opening)
        with self.indented():
            for item in group.items:
                if isinstance(item, Group):
                    self.bracketed(item, after=",")
                else:
                    self._item(item)
        self.line(group.closing + after)

    def _item(self, item: str) -> None:
        name, _, literal = item.partition("=")
        if len(item) + 1 <= self._room():
            self.line(item + ",")
            return
        if literal[:1] not in ('"', "'"):
            self._parts(item)
            return
        self.line(f"{name}=(")
        with self.indented():
            for piece in self._pieces(literal):
                self.line(piece)
        self.line("),")

    def _parts(self, item: str) -> None:
        """Add an item that breaks nowhere but at the `|` of its type."""
        parts = [item] if "[" in item else item.split(" | ")
        for number, part in enumerate(parts):
            comma = "," if number == len(parts) - 1 else ""
            self.line(("| " if number else "") + part + comma)

    def _pieces(self, literal: str) -> Iterator[str]:
        """Cut a literal at spaces into literals that stand below each other."""
        mark, inner = literal[0], literal[1:-1]
        words = inner.split(" ")
        piece = ""
        for number, word in enumerate(words):
            text = word if number == len(words) - 1 else word + " "
            if piece and len(piece) + len(text) + 2 > self._room():
                yield mark + piece + mark
                piece = ""
            piece += text
        yield mark + piece + mark

    def _room(self) -> int:
        return WIDTH - 4 * self._depth

    def _wrapped(self, text: str) -> list[str]:
        paragraphs = text.split("\n\n")
        result: list[str] = []
        for paragraph in paragraphs:
            if result:
                result.append("")
            result += textwrap.wrap(" ".join(paragraph.split()), self._room() - 3)
        return result

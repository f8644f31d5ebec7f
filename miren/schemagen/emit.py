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
        if len(lines) == 1 and len(f'"""{lines[0]}"""') <= self._room():
            self.line(f'"""{lines[0]}"""')
            return
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
        if group.opening:
            self.line(group.opening)
        with self.indented():
            for item in group.items:
                if isinstance(item, Group):
                    self.bracketed(item, after=",")
                else:
                    self._item(item)
        self.line(group.closing + after)

    def annotated(self, name: str, annotation: str, value: Group | str) -> None:
        """Add `name: annotation = value`, broken where it is long: the value, then the type."""
        if isinstance(value, str):
            self._broken(f"{name}: ", annotation, f" = {value}" if value else "")
            return
        opening = f"{name}: {annotation} = {value.opening}"
        if len(opening) <= self._room():
            self.bracketed(Group(opening, value.items, value.closing))
            return
        self._broken(f"{name}: ", annotation, f" = {value.opening}")
        self.bracketed(Group("", value.items, value.closing), exploded=True)

    def _item(self, item: str) -> None:
        if len(item) + 1 <= self._room():
            self.line(item + ",")
            return
        name, _, literal = item.partition("=")
        if not name.isidentifier() or literal[:1] not in ('"', "'"):
            self._parts(item)
            return
        self.line(f"{name}=(")
        with self.indented():
            for piece in self._pieces(literal):
                self.line(piece)
        self.line("),")

    def _parts(self, item: str) -> None:
        """Add an item that breaks nowhere but in its type, if it is a parameter with one."""
        name, _, rest = item.partition(": ")
        if not name.isidentifier():
            self.line(item + ",")
            return
        annotation, equals, default = rest.partition(" = ")
        self._broken(f"{name}: ", annotation, f"{equals}{default},")

    def _broken(self, before: str, annotation: str, after: str) -> None:
        """Add a type: in one line, else an operand of `|` a line, else broken at its brackets."""
        operands = _split(annotation, " | ")
        if len(before + annotation + after) <= self._room():
            self.line(before + annotation + after)
        elif len(operands) > 1:
            for number, operand in enumerate(operands):
                is_last = number == len(operands) - 1
                self._broken("| " if number else before, operand, after if is_last else "")
        else:
            opening, bracket, inner = annotation[:-1].partition("[")
            if not bracket:
                self.line(before + annotation + after)
                return
            self.line(f"{before}{opening}[")
            with self.indented():
                arguments = _split(inner, ", ")
                if len(arguments) == 1 or len(inner) <= self._room():
                    self._broken("", inner, "")
                else:
                    for argument in arguments:
                        self._broken("", argument, ",")
            self.line(f"]{after}")

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


def _split(text: str, separator: str) -> list[str]:
    """Split a type where the separator stands outside of all brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth == 0 and text.startswith(separator, place):
            parts.append(text[start:place])
            start = place + len(separator)
    return [*parts, text[start:]]

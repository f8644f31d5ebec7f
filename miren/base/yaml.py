"""YAML read as plain JSON data that still knows where each value stands.

A person's file goes wrong in many places at once, so reading never stops at the first problem:
the text is cut at its document markers and each document is composed on its own, by libyaml.
The node tree is kept beside the plain data, and a JSON path is turned into a place only when
somebody asks, which costs a good file nothing.

Scalars follow YAML 1.2's core schema, because 1.1's readings surprise: only `true` and `false`
are booleans (`no` and `on` are texts), `22:22` and dates stay texts, `010` is ten. What has no
JSON counterpart (merge keys, custom tags, NaN) is a problem, as are duplicate keys, which YAML
libraries let pass with the last one winning. Aliases work within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from miren.base.errors import InvalidInput, Position, Problem
from miren.base.nesting import MAX_DEPTH

__all__ = ["Located", "Parsed", "in_reading_order", "parse"]

Path = tuple[str | int, ...]

#: Nodes in one document once aliases are written out. A file of entities is far below it; a bomb
#: of aliases is far above.
MAX_NODES = 100_000

_TAG = "tag:yaml.org,2002:"
_MARKER = re.compile(r"---(\s|$)")
_BLANK = re.compile(r"\s*(#.*)?$|%")
#: JSON's way of escaping characters beyond U+FFFF, the one thing in it that YAML does not read.
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
PLAIN_SCALARS = {
    "null": (r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    "int": (r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    "float": (
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
    "merge": (r"^<<$", ["<"]),
}


@dataclass(frozen=True, slots=True)
class Located:
    """One document: `value` is plain JSON data, `position` says where a part of it stands."""

    value: object
    source: _Source
    node: Any = field(repr=False)

    def position(self, path: Path = (), *, key: bool = False) -> Position:
        """Return where `path` stands: its value, or with `key` the name it is given under.

        Names match whatever their spelling (`working_dir`, `workingDir`). Where the path
        leads to nothing, the nearest part that is there is meant.
        """
        node, place = self.node, self.node
        for step in path:
            entry = _entry(node, step)
            if entry is None:
                return self.source.at(node.start_mark)
            place, node = entry
        return self.source.at((place if key else node).start_mark)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text holds: the documents that could be read, and everything wrong with it."""

    documents: tuple[Located, ...]
    problems: tuple[Problem, ...]


def parse(text: str, file: str) -> Parsed:
    """Return the documents of a YAML or JSON `text`; `file` is the name shown with problems.

    Empty documents are left out. A document with problems is still there when its data could
    be made out, so that its content can be checked too.
    """
    documents: list[Located] = []
    problems: list[Problem] = []
    lines = text.splitlines()
    if file.endswith(".json"):
        text = _SURROGATES.sub(_one_escape, text)
    for first, chunk in _chunks(text):
        source = _Source(file, first, lines)
        try:
            for node in _compose(chunk, source):
                reader = _Reader(source)
                value = reader.read(node)
                problems.extend(reader.problems)
                if value is not _BROKEN and value is not None:
                    documents.append(Located(value, source, node))
        except InvalidInput as error:
            problems.extend(error.problems)
    return Parsed(tuple(documents), tuple(problems))


def in_reading_order(problems: Iterable[Problem], files: Sequence[str]) -> list[Problem]:
    """Return problems as one reads the `files`: in their order, and by place within each."""

    def place(problem: Problem) -> tuple[int, int, int]:
        at = problem.position
        return (files.index(at.file), at.line, at.column) if at else (-1, 0, 0)

    return sorted(problems, key=place)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """A part of a file that was composed on its own, beginning at line `first` (from 0)."""

    file: str
    first: int
    lines: list[str] = field(repr=False)

    def at(self, mark: Any) -> Position:
        return self.place(mark.line, mark.column)

    def place(self, line: int, column: int) -> Position:
        number = self.first + line
        if number >= len(self.lines):  # libyaml's end of the text lies behind its last line
            number = max(0, len(self.lines) - 1)
            column = len(self.lines[number]) if self.lines else 0
        text = self.lines[number] if self.lines else ""
        # A caret under a line of a thousand characters shows nobody anything.
        return Position(self.file, number + 1, column + 1, text if len(text) < 500 else "")


def _one_escape(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF):08X}"


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Cut a text before each `---`, which YAML reserves at the start of a line everywhere.

    Comments and directives stay with the document that follows them.
    """
    start, kept, seen = 0, list[str](), False
    for number, line in enumerate(text.splitlines(keepends=True)):
        if seen and _MARKER.match(line):
            yield start, "".join(kept)
            start, kept, seen = number, [], False
        kept.append(line)
        seen = seen or not _BLANK.match(line)
    yield start, "".join(kept)


def _compose(text: str, source: _Source) -> Iterator[Any]:
    import yaml

    try:
        # Composing recurses in C without a bound. Every level costs one of these characters.
        if sum(map(text.count, "[{-:?")) > 2_000:
            _check_depth(text, source)
        loader = _loader()(text)
        while loader.check_node():
            yield loader.get_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position].split("\n")
        position = source.place(len(before) - 1, len(before[-1]))
        raise InvalidInput([Problem(f"broken YAML: {error.reason}", position=position)]) from None
    except yaml.MarkedYAMLError as error:
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        position = source.at(mark) if mark else source.place(0, 0)
        began = source.at(error.context_mark).line if error.context_mark else position.line
        hint = f"it begins in line {began}" if began != position.line else None
        problem = Problem(f"broken YAML: {reason}", position=position, hint=hint)
        raise InvalidInput([problem]) from None


def _check_depth(text: str, source: _Source) -> None:
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidInput([_too_deep(source.at(event.start_mark))])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(position: Position) -> Problem:
    return Problem(f"nested more than {MAX_DEPTH} levels deep", position=position)


@cache
def _loader() -> Any:
    """Return libyaml's loader with this module's reading of plain scalars."""
    import yaml

    loader = type("Loader", (yaml.CSafeLoader,), {"yaml_implicit_resolvers": {}})
    for name, (pattern, first) in PLAIN_SCALARS.items():
        yaml.add_implicit_resolver(_TAG + name, re.compile(pattern), first, Loader=loader)
    return loader


_BROKEN: Any = object()


class _Reader:
    """Turns one document's nodes into plain data and collects what is wrong on the way."""

    def __init__(self, source: _Source) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._nodes = 0

    def read(self, node: Any) -> object:
        """Return the plain data, or `_BROKEN` for a document whose size or depth is refused."""
        try:
            return self._read(node, 0)
        except InvalidInput as error:
            self.problems.extend(error.problems)
            return _BROKEN

    def _read(self, node: Any, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            message = f"more than {MAX_NODES} values once its aliases are written out"
            raise InvalidInput([Problem(message, position=self._source.at(node.start_mark))])
        if depth > MAX_DEPTH:
            raise InvalidInput([_too_deep(self._source.at(node.start_mark))])
        match node.id, node.tag.removeprefix(_TAG):
            case "mapping", "map":
                return self._mapping(node, depth)
            case "sequence", "seq":
                return [self._read(item, depth + 1) for item in node.value]
            case "scalar", tag if tag in _SCALARS:
                return self._scalar(node, _SCALARS[tag])
        self._problem(node, f"tag {node.tag.replace(_TAG, '!!')} is not supported")
        return None

    def _mapping(self, node: Any, depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, item in node.value:
            if key.id != "scalar":
                self._problem(key, "a key must be a text")
            elif key.tag == _TAG + "merge":
                self._problem(key, "merge keys (<<) are not supported", "write the attributes out")
            elif not key.value:
                self._problem(key, "a key is missing before ':'")
            elif key.value in result:
                self._problem(key, f"duplicate key {key.value!r}")
            else:
                result[key.value] = self._read(item, depth + 1)
        return result

    def _scalar(self, node: Any, convert: Callable[[str], object]) -> object:
        try:
            return convert(node.value)
        except ValueError as error:
            self._problem(node, str(error))
            return None

    def _problem(self, node: Any, message: str, hint: str | None = None) -> None:
        position = self._source.at(node.start_mark)
        self.problems.append(Problem(message, position=position, hint=hint))


def _integer(text: str) -> int:
    if len(text) > 32:
        raise ValueError("a number this large has no JSON form: quote it if it is a text")
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    number = int(text, base)
    if not -(2**63) <= number < 2**63:
        raise ValueError("a number this large has no JSON form: quote it if it is a text")
    return number


def _float(text: str) -> float:
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if number in (float("inf"), float("-inf")) or number != number:
        raise ValueError(f"{text} has no JSON form: quote it if it is a text")
    return number


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str,
    "null": lambda _text: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _float,
    "merge": str,
}


def _entry(node: Any, step: str | int) -> tuple[Any, Any] | None:
    """Return what names `step` inside `node`, and its value; None where there is no such step."""
    if node.id == "sequence" and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    if node.id == "mapping":
        pairs = [pair for pair in node.value if pair[0].id == "scalar"]
        for key, item in pairs:
            if key.value == step:
                return key, item
        for key, item in pairs:
            if _fold(key.value) == _fold(str(step)):
                return key, item
    return None


def _fold(name: str) -> str:
    return name.replace("_", "").lower()

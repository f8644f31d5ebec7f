"""Schema files to checked schemas: everything wrong in any of them is reported at once.

In three steps: the YAML, each file's shape (a JSON Schema), then what names mean, across all
files. Components may be used by other files of the same run; kinds may be named by any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from miren.base.errors import InvalidInput, Problem
from miren.base.yaml import in_reading_order, parse
from miren.schemagen.compiler import Compiler
from miren.schemagen.files import SchemaFile
from miren.schemagen.model import Schema
from miren.schemagen.shapes import mended, misshapen

__all__ = ["load", "load_files"]


def load_files(paths: Iterable[Path]) -> tuple[Schema, ...]:
    """Return the schemas in these files; raise InvalidInput with every problem in them."""
    return load((str(path), _text_of(path)) for path in paths)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8: {error.reason}") from error


def load(texts: Iterable[tuple[str, str]]) -> tuple[Schema, ...]:
    """Return the schemas in these (file name, text) pairs, in the order given.

    Raises InvalidInput with every problem of every file, each with its place.
    """
    problems: list[Problem] = []
    given = list(texts)
    files = [file for name, text in given for file in _read(name, text, problems)]
    schemas = Compiler(files, problems).compile()
    if problems:
        raise InvalidInput(in_reading_order(problems, [name for name, _ in given]))
    return schemas


def _read(name: str, text: str, problems: list[Problem]) -> Iterator[SchemaFile]:
    parsed = parse(text, name)
    problems.extend(parsed.problems)
    if not parsed.documents and not parsed.problems:
        problems.append(Problem(f"{name} holds no schema"))
    problems.extend(
        Problem("a file holds one schema", position=document.position())
        for document in parsed.documents[1:]
    )
    for document in parsed.documents[:1]:
        problems.extend(misshapen(document))
        yield SchemaFile(name, document, mended(document.value))

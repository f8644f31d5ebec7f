"""The imports of a generated module: collected while its body is written, then put above it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from miren.schemagen.emit import Code, Group

__all__ = ["Imports", "write_imports"]

_ORIGINS = {
    "Mapping": "collections.abc",
    "Sequence": "collections.abc",
    "datetime": "datetime",
    "StrEnum": "enum",
    "TYPE_CHECKING": "typing",
    "Annotated": "typing",
    "Any": "typing",
    "Literal": "typing",
    "Self": "typing",
    "Duration": "miren.base.quantities",
    "Quantity": "miren.base.quantities",
    "document": "miren.entities.arguments",
    "metadata": "miren.entities.arguments",
    "Entity": "miren.entities.entity",
    "Partial": "miren.entities.entity",
    "Column": "miren.entities.kinds",
    "Scope": "miren.entities.kinds",
    "Base64": "miren.entities.model",
    "Json": "miren.entities.model",
    "Labels": "miren.entities.model",
    "Map": "miren.entities.model",
    "Model": "miren.entities.model",
    "Ref": "miren.entities.model",
    "field": "miren.entities.model",
}


class Imports:
    """What one module needs of others.

    Components of other modules are classes its own are built from. Kinds of other modules stand
    in quoted annotations only, and are imported for type checkers alone: references may go in
    circles.
    """

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._needed: dict[str, set[str]] = defaultdict(set)
        self._mentioned: dict[str, set[str]] = defaultdict(set)

    def use(self, name: str) -> str:
        """Import one of the names that generated code is written with, and return it."""
        self._used.add(name)
        return name

    def use_all(self, annotation: str) -> str:
        """Import what an annotation is made of, and return it."""
        for word in annotation.replace("[", " ").replace("]", " ").replace(",", " ").split():
            if word in _ORIGINS:
                self.use(word)
        return annotation

    def need(self, module: str, name: str) -> None:
        """Import a class of another generated module."""
        self._needed[module].add(name)

    def mention(self, module: str, name: str) -> None:
        """Import a class of another generated module for type checkers."""
        self._mentioned[module].add(name)

    def write(self, code: Code) -> None:
        """Write the imports, and a blank line after each block."""
        only_checked = {m: n for m, n in self._mentioned.items() if m not in self._needed}
        if only_checked:
            self.use("TYPE_CHECKING")
        imports: dict[str, set[str]] = defaultdict(set)
        for name in self._used:
            imports[_ORIGINS[name]].add(name)
        for module, names in self._needed.items():
            imports[f".{module}"] = names | self._mentioned.get(module, set())
        write_imports(code, imports)
        code.blank()
        if only_checked:
            code.line("if TYPE_CHECKING:")
            with code.indented():
                write_imports(code, {f".{m}": names for m, names in only_checked.items()})
            code.blank()


def write_imports(code: Code, imports: Mapping[str, Iterable[str]]) -> None:
    """Write imports as isort orders them: standard library, miren, this package."""
    sections = (
        [m for m in imports if not m.startswith((".", "miren"))],
        [m for m in imports if m.startswith("miren")],
        [m for m in imports if m.startswith(".")],
    )
    first = True
    for section in sections:
        if section and not first:
            code.blank()
        for module in sorted(section):
            first = False
            _write_import(code, module, imports[module])


def _write_import(code: Code, module: str, names: Iterable[str]) -> None:
    ordered = tuple(sorted(names, key=lambda name: (_import_rank(name), name)))
    single = f"from {module} import {', '.join(ordered)}"
    if len(single) <= 95:
        code.line(single)
    else:
        code.bracketed(Group(f"from {module} import (", ordered, ")"), exploded=True)


def _import_rank(name: str) -> int:
    if name.isupper() and len(name) > 1:
        return 0
    return 1 if name[0].isupper() else 2

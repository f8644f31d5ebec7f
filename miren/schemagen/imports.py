"""The imports of a generated module: collected while its body is written, then put above it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from miren.schemagen.emit import Code, Group
from miren.schemagen.names import pascal

__all__ = ["IMPORTED", "Imports", "write_imports"]

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
    "conversions": "miren.entities",
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
    "renamed": "miren.entities.model",
    "SecretText": "miren.entities.secrets",
}

#: Names that generated modules and the package's index have already.
IMPORTED = frozenset(_ORIGINS) | {"KINDS"}


class Imports:
    """What one module needs of others.

    Components of other modules are classes its own are built from. Kinds of other modules stand
    in quoted annotations only, and are imported for type checkers alone: references may go in
    circles.
    """

    def __init__(self, module: str, taken: Iterable[str]) -> None:
        self._module = module
        self._taken = set(taken)  # by classes of the module itself, and by what it imports
        self._locals: dict[tuple[str, str], str] = {}
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

    def need(self, module: str, name: str) -> str:
        """Import a class of another generated module, and return what it is called here."""
        return self._import(self._needed, module, name)

    def mention(self, module: str, name: str) -> str:
        """Import a class for type checkers only, and return what it is called here."""
        return self._import(self._mentioned, module, name)

    def _import(self, imports: dict[str, set[str]], module: str, name: str) -> str:
        if module == self._module:
            return name
        local = self._locals.get((module, name))
        if local is None:
            local = name if name not in self._taken else pascal(module) + name
            while local in self._taken:
                local += "_"
            self._locals[module, name] = local
            self._taken.add(local)
        imports[module].add(name if local == name else f"{name} as {local}")
        return local

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

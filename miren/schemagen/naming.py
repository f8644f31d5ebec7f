"""Which class a name becomes, and which kind or component a word in a schema file means.

Files are generated together: several domains, and several versions of one domain. A word means
what is nearest: in the same file, in the same version, in the same domain (its newest version),
elsewhere. What is equally near in several domains has to be told apart by its author.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from miren.base.suggestions import closest
from miren.schemagen.files import SchemaFile
from miren.schemagen.imports import IMPORTED
from miren.schemagen.model import ClassName, Target
from miren.schemagen.names import pascal, version_order

__all__ = ["ClassNames", "Meaning", "Names", "Unknown"]


class Unknown(Exception):
    """A word that means nothing, or too much; `hint` is what the author can do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Meaning:
    """A kind or component that some file defines."""

    file: SchemaFile
    written: str
    known: ClassName


class ClassNames:
    """The names of classes in one module. The same file always gets the same ones."""

    def __init__(self) -> None:
        self._taken = set(IMPORTED)

    def kind(self, name: str) -> str:
        """Return the class of a kind, which has a Spec and a Status beside it."""
        return self._free(name, "Kind", ("", "Spec", "Status"))

    def component(self, name: str) -> str:
        """Return the class of a component that has a name of its own."""
        return self._free(name, "Component", ("",))

    def nested(self, name: str) -> str:
        """Return the class of an enum or component that an attribute defines."""
        return self._free(name, "Value", ("", "Text"))

    def _free(self, name: str, suffix: str, parts: tuple[str, ...]) -> str:
        while keyword.iskeyword(name) or any(f"{name}{part}" in self._taken for part in parts):
            name += suffix
        self._taken.update(f"{name}{part}" for part in parts)
        return name


class Names:
    """The kinds and components of all files that are generated together."""

    def __init__(self, files: Sequence[SchemaFile]) -> None:
        self.classes = {id(file): ClassNames() for file in files}
        self._kinds = [kind for file in files for kind in self._kinds_of(file)]
        self._components = [part for file in files for part in self._components_of(file)]

    def _kinds_of(self, file: SchemaFile) -> Iterator[Meaning]:
        for name in file.kinds:
            class_name = self.classes[id(file)].kind(pascal(name))
            yield Meaning(file, name, ClassName(file.module, class_name))

    def _components_of(self, file: SchemaFile) -> Iterator[Meaning]:
        for name in file.components:
            class_name = self.classes[id(file)].component(pascal(name))
            yield Meaning(file, name, ClassName(file.module, class_name))

    def class_of_kind(self, name: str, file: SchemaFile) -> str:
        """Return the class of a kind that `file` defines."""
        return next(k.known.name for k in self._kinds if (k.file, k.written) == (file, name))

    def twins(self, name: str, file: SchemaFile) -> Iterable[Meaning]:
        """Yield the kinds before this one that have its name in the same version of its domain."""
        for kind in self._kinds:
            if (kind.file, kind.written) == (file, name):
                return
            same_api = (kind.file.domain, kind.file.version) == (file.domain, file.version)
            if _fold(kind.written) == _fold(name) and (kind.file is file or same_api):
                yield kind

    def component_names(self) -> list[str]:
        """Return the names of all components."""
        return sorted({part.written for part in self._components})

    def kind(self, word: str, file: SchemaFile) -> Target:
        """Return the kind that `word` means in `file`; raise Unknown."""
        found = [kind for kind in self._kinds if _fold(kind.written) == _fold(word)]
        if not found:
            hint = closest(pascal(word), [pascal(kind.written) for kind in self._kinds])
            raise Unknown(f"unknown kind {word!r}", hint)
        nearest = _nearest(found, file)
        return Target(nearest.known, pascal(nearest.written))

    def component(self, word: str, file: SchemaFile) -> Meaning | None:
        """Return the component that `word` means in `file`, if any; raise Unknown."""
        found = [part for part in self._components if part.written == word]
        return _nearest(found, file) if found else None


def _nearest(found: Sequence[Meaning], file: SchemaFile) -> Meaning:
    circles = (
        [each for each in found if each.file is file],
        [e for e in found if (e.file.domain, e.file.version) == (file.domain, file.version)],
        [each for each in found if each.file.domain == file.domain],
        found,
    )
    near = next(circle for circle in circles if circle)
    domains = sorted({each.file.domain for each in near})
    if len(domains) > 1:
        message = f"{near[0].written!r} is in several domains: {', '.join(domains)}"
        raise Unknown(message, "give one of them another name")
    version = max((each.file.version for each in near), key=version_order)
    newest = [each for each in near if each.file.version == version]
    if len(newest) > 1:
        names = ", ".join(each.file.name for each in newest)
        raise Unknown(f"{near[0].written!r} is in several files: {names}", "rename one of them")
    return newest[0]


def _fold(name: str) -> str:
    return pascal(name).lower()

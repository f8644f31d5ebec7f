"""What is known about a kind, and the set of kinds a client or server works with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from miren.base.errors import InvalidInput, NotFound
from miren.base.suggestions import closest

if TYPE_CHECKING:
    from miren.entities.entity import Entity
    from miren.entities.model import Model

__all__ = ["Column", "Kind", "Kinds", "Scope"]


class Scope(StrEnum):
    """Where names of a kind are unique."""

    PROJECT = "project"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `miren get`: a heading and the dotted camelCase path it shows."""

    title: str
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind's names and models. One object per kind and version; compared by identity."""

    domain: str
    version: str
    name: str
    plural: str
    short: tuple[str, ...]
    scope: Scope
    columns: tuple[Column, ...]
    doc: str
    entity: type[Entity[Model, Model]]
    spec: type[Model]
    status: type[Model]
    aliases: tuple[str, ...] = ()  # older `<domain>` or `<domain>/<version>`, read on input only

    @property
    def api_version(self) -> str:
        """`<domain>/<version>`, as documents carry it."""
        return f"{self.domain}/{self.version}"

    @property
    def singular(self) -> str:
        """The lower-case name: `sandbox`, `appversion`."""
        return self.name.lower()

    def __str__(self) -> str:
        return f"{self.singular}.{self.domain}"

    def words(self) -> tuple[str, ...]:
        """Return every word that means this kind on a command line."""
        return (self.singular, self.plural, *self.short)

    def is_in(self, api: str) -> bool:
        """Return whether `api`, `<domain>/<version>` or a domain, is this kind's or was once."""
        domain, _, version = api.partition("/")
        for known in (self.api_version, *self.aliases):
            known_domain, _, known_version = known.partition("/")
            if domain == known_domain and version in ("", known_version or self.version):
                return True
        return False


class Kinds:
    """A set of kinds, looked up by document or by what a person types."""

    def __init__(self, entities: Iterable[type[Entity[Any, Any]]] = ()) -> None:
        self._by_type: dict[tuple[str, str], Kind] = {}
        for entity in entities:
            self.add(entity)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_type.values())

    def add(self, entity: type[Entity[Any, Any]]) -> None:
        """Make a kind known. Adding it again changes nothing; another of its name is refused."""
        kind = entity.kind
        known = self._by_type.setdefault((kind.domain, kind.name), kind)
        if known is not kind:
            raise InvalidInput(
                f"kind {kind} is defined twice: {_where(known)} and {_where(kind)}",
                hint="give one of them another domain in api=",
            )

    def of_document(self, api_version: str | None, name: str) -> Kind:
        """Return the kind a document names; raise InvalidInput with a suggestion if none.

        Without `api_version` the name must be unambiguous. Older names of the API count too.
        """
        folded = _fold(name)
        found = [
            kind
            for kind in self
            if _fold(kind.name) == folded and (api_version is None or kind.is_in(api_version))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(kind.api_version for kind in found)
            raise InvalidInput(f"kind {name!r} is in several APIs: say apiVersion: {choices}")
        same_name = [kind for kind in self if _fold(kind.name) == folded]
        if same_name:
            hint = closest(api_version or "", [kind.api_version for kind in same_name])
            raise InvalidInput(
                f"no kind {name!r} in apiVersion {api_version!r}",
                hint=hint or f"it is in {same_name[0].api_version}",
            )
        raise InvalidInput(
            f"unknown kind {name!r}", hint=closest(name, [kind.name for kind in self])
        )

    def resolve(self, word: str) -> Kind:
        """Return the kind a person means by `sandbox`, `sandboxes`, `sb` or `sandbox.miren.dev`.

        Raises NotFound with a suggestion, or InvalidInput when the word is ambiguous.
        """
        name, _, domain = word.partition(".")
        folded = _fold(name)
        found = [
            kind
            for kind in self
            if folded in map(_fold, kind.words()) and domain in ("", kind.domain)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(str(kind) for kind in found)
            raise InvalidInput(f"{word!r} is ambiguous: say {choices}")
        known = [known for kind in self for known in kind.words()]
        raise NotFound(f"no kind {word!r}", hint=closest(word, known))


def _fold(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def _where(kind: Kind) -> str:
    return f"{kind.entity.__module__}.{kind.entity.__qualname__}"

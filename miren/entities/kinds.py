"""The set of kinds that a client or server works with.

A kind may be known in several versions side by side. The newest one, by Kubernetes' order of
versions, is the stored one: it says how to convert what the others wrote (`converts=`), and is
what is meant where nobody says a version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from miren.base.errors import InvalidInput, NotFound
from miren.base.suggestions import closest
from miren.base.words import folded
from miren.entities.conversions import Converter
from miren.entities.kind import Column, Kind, Scope
from miren.entities.version_shapes import differences, lost_secrets

if TYPE_CHECKING:
    from miren.entities.entity import Entity

__all__ = ["Column", "Kind", "Kinds", "Scope"]


class Kinds:
    """A set of kinds, looked up by document or by what a person types."""

    def __init__(self, entities: Iterable[type[Entity[Any, Any]]] = ()) -> None:
        self._known: dict[tuple[str, str], dict[str, Kind]] = {}
        self._converters: dict[tuple[Kind, Kind], Converter] = {}
        self._newest_known: dict[tuple[str, str], Kind] = {}
        self._has_versions = False
        for entity in entities:
            self.add(entity)
        for kind in self:
            self.conversion(kind, self.stored(kind))

    def __iter__(self) -> Iterator[Kind]:
        """Yield every kind in every version, the stored one after the older ones."""
        for versions in self._known.values():
            yield from sorted(versions.values(), key=_age)

    def add(self, entity: type[Entity[Any, Any]]) -> None:
        """Make a kind known. Adding it again changes nothing; another of its name is refused."""
        kind = entity.kind
        versions = self._known.setdefault((kind.domain, kind.name), {})
        known = versions.setdefault(kind.version, kind)
        if known is not kind:
            raise InvalidInput(
                f"kind {kind} is defined twice: {_where(known)} and {_where(kind)}",
                hint="give one of them another domain or version in api=",
            )
        newest = self._newest_known.setdefault((kind.domain, kind.name), kind)
        self._newest_known[kind.domain, kind.name] = max(newest, kind, key=_age)
        self._converters.clear()
        self._has_versions = self._has_versions or len(versions) > 1

    @property
    def has_versions(self) -> bool:
        """Whether any kind is known in several versions."""
        return self._has_versions

    def named(self, domain: str, name: str) -> Kind | None:
        """Return the stored version of a kind, None when it is not known."""
        return self._newest_known.get((domain, name))

    def all_stored(self) -> tuple[Kind, ...]:
        """Return every kind once, in its stored version."""
        return tuple(self._newest_known.values())

    def stored(self, kind: Kind) -> Kind:
        """Return the version of a kind that is stored; of an unknown kind itself."""
        return self.named(kind.domain, kind.name) or kind

    def versions(self, kind: Kind) -> tuple[Kind, ...]:
        """Return the versions of a kind, newest first."""
        versions = self._known.get((kind.domain, kind.name), {kind.version: kind})
        return tuple(sorted(versions.values(), key=_age, reverse=True))

    def of_version(self, kind: Kind, api_version: str) -> Kind:
        """Return a kind in the version that a stored document says.

        Raises InvalidInput when that version is not known.
        """
        version = api_version.rpartition("/")[2]
        if version == kind.version:
            return kind
        versions = self._known.get((kind.domain, kind.name), {})
        if version in versions:
            return versions[version]
        raise InvalidInput(
            f"{kind.singular}: version {version} of {kind.domain} is not known",
            hint=f"known: {', '.join([each.version for each in self.versions(kind)])}",
        )

    def conversion(self, old: Kind, new: Kind) -> Converter:
        """Return the converter between two versions of a kind, in whichever direction.

        Raises InvalidInput when none leads there.
        """
        found = self._converters.get((old, new))
        if found is None:
            found = self._converters[old, new] = self._conversion(old, new)
        return found

    def _conversion(self, old: Kind, new: Kind) -> Converter:
        """Search the shortest chain (breadth first)."""
        chains = {old: Converter()}
        for at in (queue := [old]):
            if at is new:
                return _checked(old, new, chains[at])
            for to, step in self._neighbours(at):
                if to not in chains:
                    chains[to] = chains[at].then(step)
                    queue.append(to)
        newest = max(old, new, key=_age)
        older = old if newest is new else new
        raise InvalidInput(
            f"{newest.singular}: nothing converts {older.api_version} to {newest.api_version}",
            hint=f"say converts={{{older.version!r}: Converter(...)}} in {_where(newest)}",
        )

    def _neighbours(self, kind: Kind) -> Iterator[tuple[Kind, Converter]]:
        for other in self._known.get((kind.domain, kind.name), {}).values():
            if other.version in kind.converts:
                yield other, kind.converts[other.version].inverse()
            if kind.version in other.converts:
                yield other, other.converts[kind.version]

    def _newest(self, kinds: Iterable[Kind]) -> list[Kind]:
        """Return the newest version of each kind among these."""
        best: dict[tuple[str, str], Kind] = {}
        for kind in kinds:
            known = best.setdefault((kind.domain, kind.name), kind)
            best[kind.domain, kind.name] = max(known, kind, key=_age)
        return list(best.values())

    def of_document(self, api_version: str | None, name: str) -> Kind:
        """Return the kind a document names; raise InvalidInput with a suggestion if none.

        Without `api_version` the name must be unambiguous, and its newest version is meant.
        Older names of the API count too.
        """
        wanted = folded(name)
        found = self._newest(
            kind
            for kind in self
            if folded(kind.name) == wanted and (api_version is None or kind.is_in(api_version))
        )
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(kind.api_version for kind in found)
            raise InvalidInput(f"kind {name!r} is in several APIs: say apiVersion: {choices}")
        same_name = [kind for kind in self if folded(kind.name) == wanted]
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

        It is the newest version, but for one that is asked for: `sandbox.v1alpha1.miren.dev`.
        Raises NotFound with a suggestion, or InvalidInput when the word is ambiguous.
        """
        name, _, api = word.partition(".")
        wanted = folded(name)
        found = self._newest(
            kind
            for kind in self
            if wanted in map(folded, kind.words())
            and api in ("", kind.domain, f"{kind.version}.{kind.domain}")
        )
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(str(kind) for kind in found)
            raise InvalidInput(f"{word!r} is ambiguous: say {choices}")
        known = [known for kind in self for known in kind.words()]
        hint = closest(word, known) or "`miren api-resources` lists them"
        raise NotFound(f"no kind {word!r}", hint=hint)


def _checked(old: Kind, new: Kind, converter: Converter) -> Converter:
    """Return the converter, if it accounts for everything."""
    found = differences(old, new, converter) if old is not new else ()
    if _age(old) < _age(new):
        found += lost_secrets(old, new, converter)
    if found:
        about = f"{new.singular}: {old.api_version} does not convert to {new.api_version}"
        raise InvalidInput("\n".join([about, *found]))
    return converter


_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d*))?")
_STAGES = ("alpha", "beta", None)


def _age(kind: Kind) -> tuple[int, int, int, str]:
    """Return what sorts versions as Kubernetes does: v2, v1, v1beta2, v1alpha1, then others."""
    match = _VERSION.fullmatch(kind.version)
    if match is None:
        return -1, 0, 0, kind.version
    major, stage, minor = match.groups()
    return _STAGES.index(stage), int(major), int(minor or 0), kind.version


def _where(kind: Kind) -> str:
    return f"{kind.entity.__module__}.{kind.entity.__qualname__}"

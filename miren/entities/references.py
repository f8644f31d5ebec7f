"""References between entities: what a reference's text names, and who refers to whom.

A reference to one kind is `name` or `project/name`; one to several kinds, or to any, begins with
the kind: `kind/name`, `kind/project/name`. A name without a project is looked for in the project
of whoever refers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from miren.base.errors import InvalidInput, NotFound, Problem
from miren.entities.attributes import Attribute, attributes, values_at
from miren.entities.kinds import Kind, Kinds, Scope

__all__ = ["Pointer", "Reference", "misspelt", "pointers", "reference_attributes"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Somebody's reference to an entity: who, in which attribute (`spec.app`)."""

    kind: Kind
    project: str
    name: str
    attribute: str

    def __str__(self) -> str:
        where = f"{self.project}/" if self.project not in ("", "default") else ""
        return f"{self.kind.singular}/{where}{self.name}"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What one reference of an entity names. `text` is the reference as it is written."""

    attribute: Attribute
    text: str
    target: Kind
    project: str
    name: str

    @property
    def rule(self) -> str:
        """What deleting the target means: `restrict`, `unset` or `none`."""
        return self.attribute.options.on_delete or "none"


@cache
def reference_attributes(kind: Kind) -> tuple[Attribute, ...]:
    """Return the attributes of a kind that refer to others."""
    return tuple(attribute for attribute in attributes(kind) if attribute.is_ref)


def pointers(
    kind: Kind, document: Mapping[str, Any], project: str, kinds: Kinds
) -> Iterator[Pointer]:
    """Yield what the references in an entity's document name.

    Targets of kinds that this client does not know are left out.
    """
    for attribute in reference_attributes(kind):
        for text in values_at(document, attribute.path):
            found = _pointer(attribute, text, kind, project, kinds)
            if found is not None:
                yield found


def _pointer(
    attribute: Attribute, text: str, kind: Kind, project: str, kinds: Kinds
) -> Pointer | None:
    wanted = attribute.options.to
    if len(wanted) == 1:
        target = _named(wanted[0], kinds, near=kind)
        steps = text.split("/")
    else:
        word, *steps = text.split("/")
        target = _spoken(word, wanted, kinds)
    if target is None or not 1 <= len(steps) <= 2:
        return None
    where = "" if target.scope is Scope.CLUSTER else steps[0] if len(steps) == 2 else project
    return Pointer(attribute, text, target, where, steps[-1])


def misspelt(kind: Kind, document: Mapping[str, Any], kinds: Kinds) -> Iterator[Problem]:
    """Yield a problem for each reference to several kinds that does not begin with one of them,
    and for each to one kind that has more steps than a project and a name.
    """
    for attribute in reference_attributes(kind):
        wanted = attribute.options.to
        for text in values_at(document, attribute.path):
            word, slash, _ = text.partition("/")
            if len(wanted) > 1 and (not slash or _spoken(word, wanted, kinds) is None):
                choices = ", ".join(f"{name.lower()}/<name>" for name in wanted)
                yield Problem(f"{text!r} names no kind: write {choices}", attribute.path)
            elif len(wanted) == 1 and text.count("/") > 1:
                told = f"{text!r} must be '<name>' or '<project>/<name>'"
                yield Problem(told, attribute.path)


def _spoken(word: str, wanted: Collection[str], kinds: Kinds) -> Kind | None:
    """Return the kind that a reference to several kinds begins with, if it may name it."""
    try:
        kind = kinds.resolve(word)
    except (NotFound, InvalidInput):
        return None
    return kind if not wanted or kind.name in wanted else None


def _named(name: str, kinds: Kinds, *, near: Kind) -> Kind | None:
    """Return the kind of that name; of several, the one in the referrer's own API."""
    found = [kind for kind in kinds if kind.name == name]
    ours = [kind for kind in found if kind.api_version == near.api_version]
    domain = [kind for kind in found if kind.domain == near.domain]
    nearest = next(iter(ours or domain or found), None)
    return None if nearest is None else kinds.stored(nearest)

"""Which kind is meant by a name as kopf has it, and kinds for programs that have no models yet."""

from __future__ import annotations

import types
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import create_model

from miren.base.words import folded
from miren.entities.entity import Entity
from miren.entities.kinds import Scope
from miren.entities.model import Json, Model, renamed

__all__ = ["Resource", "kind", "kind_of"]

Kind = type[Entity[Any, Any]]
#: `("kopfexamples",)`, `("kopf.dev/v1", "kopfexamples")`, `("kopf.dev", "v1", "kopfexamples")`, or
#: a class of ours.
Resource = tuple[str | Kind, ...]


def kind(
    name: str,
    *,
    api: str,
    spec: Iterable[str] = (),
    status: Iterable[str] = (),
    plural: str | None = None,
    short: Sequence[str] = (),
    scope: Scope = Scope.PROJECT,
) -> Kind:
    """Return a kind whose attributes have any value: `kind("Fig", api="a.dev/v1", spec=["size"])`.

    Their names are told, and are the same on the wire. What handlers return goes into the
    attribute of the status that is named as they are. Types come with `Model` classes later.
    """
    bases = (Entity[_free(f"{name}Spec", spec), _free(f"{name}Status", status)],)  # type: ignore[misc]  # made here
    options = {"api": api, "plural": plural, "short": short, "scope": scope}
    made: Kind = types.new_class(name, bases, options)
    return made


def _free(name: str, attributes: Iterable[str]) -> type[Model]:
    names = {each: each for each in attributes}
    fields: dict[str, Any] = dict.fromkeys(names, (Json, None))
    alias = {"alias_generator": renamed(names)}
    made: type[Model] = create_model(name, __base__=Model, __cls_kwargs__=alias, **fields)
    return made


def kind_of(resource: Resource, kinds: Iterable[Kind]) -> Kind:
    """Return the one of these kinds that a decorator names. Raises TypeError if it is not one."""
    known = tuple(dict.fromkeys(kinds))
    found = [each for each in known if _is_meant(resource, each)]
    if len(found) == 1:
        return found[0]
    shown = "/".join(each if isinstance(each, str) else each.__name__ for each in resource)
    names = ", ".join(f"{each.kind.plural}.{each.kind.domain}" for each in known)
    if found:
        raise TypeError(f"{shown!r} is several of the kinds: say the group too, of {names}")
    raise TypeError(f"{shown!r} is none of the kinds that were given: {names}")


def _is_meant(resource: Resource, kind: Kind) -> bool:
    *groups, word = resource
    if not isinstance(word, str):
        return word is kind
    api = "/".join(str(each) for each in groups)
    if not api:
        word, _, api = word.partition(".")
        first, _, rest = api.partition(".")
        if first == kind.kind.version and rest:
            api = f"{rest}/{first}"
    is_named = folded(word) in map(folded, (*kind.kind.words(), kind.kind.name))
    return is_named and (not api or kind.kind.is_in(api))

"""Selections: what the API is asked for, and what is left to be looked at here.

Labels it can always select on. Attributes it can where the kind's CustomResourceDefinition lists
them (`selectableFields`), which is found out by asking once; references it never can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from miren.base.errors import InvalidInput
from miren.clients.kubernetes.addresses import collection
from miren.entities.client import Selection
from miren.entities.entity import Entity
from miren.entities.labels import requirements
from miren.entities.selecting import Selector

__all__ = ["Query", "parse_token", "query_of"]

E = TypeVar("E", bound=Entity[Any, Any])


@dataclass(frozen=True, slots=True)
class Query(Generic[E]):
    """A selection of one kind. `rest` is what the API does not look at, None if nothing."""

    kind: type[E]
    path: str
    labels: str
    fields: str
    rest: Selector[E] | None
    digest: str

    @property
    def is_selective(self) -> bool:
        """Whether the API leaves out what exists, so that `gone` may mean that it left."""
        return bool(self.labels or self.fields)

    def matches(self, entity: E) -> bool:
        """Return whether what the API gave belongs to the selection."""
        return self.rest is None or self.rest.matches(entity)

    def token(self, continued: str) -> str:
        """Return where a listing goes on, for `parse_token`; empty at its end."""
        return f"{self.digest}.{continued}" if continued else ""


def query_of(
    kind: type[E], selection: Selection, *, project: str, selects_fields: bool
) -> Query[E]:
    """Return what to ask for; raise InvalidInput for what cannot be selected on."""
    selector = Selector(kind, selection, project=project, scans=True)
    asked = _text(selection.fields) if selects_fields else ""
    is_left = selection.refers_to is not None or (bool(selection.fields) and not asked)
    return Query(
        kind,
        collection(kind.kind, selection.project),
        _labels(selection.labels),
        asked,
        selector if is_left else None,
        hashlib.sha256(selector.digest.encode()).hexdigest()[:12],
    )


def parse_token(token: str, query: Query[Any]) -> str:
    """Return where the API goes on; raise InvalidInput for a token of another selection."""
    digest, dot, continued = token.partition(".")
    if token and (not dot or digest != query.digest):
        raise InvalidInput(
            "the continue token is of another selection", hint="list again from the start"
        )
    return continued


def _labels(labels: Mapping[str, str] | str) -> str:
    requirements(labels)  # raises what is wrong with it
    return labels if isinstance(labels, str) else _text(labels)


def _text(wanted: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in wanted.items())

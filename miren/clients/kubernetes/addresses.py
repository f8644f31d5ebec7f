"""Where the API keeps what: the paths of kinds, their objects and subresources."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from miren.entities.kind import Kind, Scope

__all__ = ["collection", "discovery", "item", "query"]


def discovery(kind: Kind) -> str:
    """Return the path that says which resources the kind's API has."""
    return f"/apis/{kind.domain}/{kind.version}"


def collection(kind: Kind, project: str | None) -> str:
    """Return the path of a kind's objects in a project; None means all projects."""
    if kind.scope is Scope.CLUSTER or project is None:
        return f"{discovery(kind)}/{kind.plural}"
    return f"{discovery(kind)}/namespaces/{quote(project, safe='')}/{kind.plural}"


def item(kind: Kind, project: str, name: str) -> str:
    """Return the path of one object."""
    return f"{collection(kind, project)}/{quote(name, safe='')}"


def query(path: str, **parameters: str | int | None) -> str:
    """Return `path` with those parameters that are not None or empty."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path

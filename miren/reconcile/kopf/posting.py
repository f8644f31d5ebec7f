"""What kopf's handlers say beside their results: events, and whose the things are they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from miren.reconcile.context import Context
from miren.reconcile.kopf.views import Body

__all__ = ["CURRENT", "adopt", "event", "exception", "info", "warn"]

#: What the handler that runs is given.
CURRENT: ContextVar[tuple[Context[Any], Body]] = ContextVar("current")

Document = MutableMapping[str, Any]


def event(body: Mapping[str, Any], *, type: str, reason: str, message: str = "") -> None:
    """Tell people what happened to the entity that is handled. `type` is Normal or Warning.

    Raises ValueError for another entity: what becomes of that is its own handlers' to tell.
    """
    ctx, current = _current("kopf.event")
    if body.get("metadata", {}).get("uid") != current.meta.uid:
        raise ValueError("kopf.event tells of the entity that is handled, and of no other")
    tell = ctx.event if type == "Normal" else ctx.warn
    tell(reason, message)


def info(body: Mapping[str, Any], *, reason: str, message: str = "") -> None:
    """Tell people what happened."""
    event(body, type="Normal", reason=reason, message=message)


def warn(body: Mapping[str, Any], *, reason: str, message: str = "") -> None:
    """Tell people what is wrong."""
    event(body, type="Warning", reason=reason, message=message)


def exception(
    body: Mapping[str, Any], *, reason: str = "", message: str = "", exc: BaseException
) -> None:
    """Tell people of an exception."""
    told = f"{message} {exc}".strip()
    event(body, type="Warning", reason=reason or type(exc).__name__, message=told)


def adopt(documents: Document | Iterable[Document]) -> None:
    """Make documents those of dependents of the entity that is handled: they go when it goes.

    They are put into its project, and have its labels and its name unless they say otherwise.
    """
    _ctx, owner = _current("kopf.adopt")
    many = (documents,) if isinstance(documents, MutableMapping) else documents
    for document in many:
        metadata = document.setdefault("metadata", {})
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner.meta.name,
            "uid": owner.meta.uid,
        }
        owners = metadata.setdefault("ownerReferences", [])
        if all(each.get("uid") != owner.meta.uid for each in owners):
            owners.append(reference)
        metadata.setdefault("name", owner.meta.name)
        metadata["labels"] = {**owner.meta.labels, **metadata.get("labels", {})}
        if owner.meta.namespace:
            metadata.setdefault("project", owner.meta.namespace)


def _current(what: str) -> tuple[Context[Any], Body]:
    try:
        return CURRENT.get()
    except LookupError:
        raise RuntimeError(f"{what} is for handlers: no one is called here") from None

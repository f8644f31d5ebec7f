"""kopf's `on`: what handlers are called on. See `miren.reconcile.kopf`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, Unpack

from miren.reconcile.kopf.declared import Common, Function, Options, Reason, declare
from miren.reconcile.kopf.kinds import Kind

__all__ = ["cleanup", "create", "delete", "event", "field", "resume", "startup", "update"]

F = TypeVar("F", bound=Function)


def create(*resource: str | Kind, **options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler once for each entity, until it succeeds."""
    return declare(Reason.CREATE, resource, options)


def update(*resource: str | Kind, **options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler when the spec, labels or annotations differ from what it handled last."""
    return declare(Reason.UPDATE, resource, options)


def delete(
    *resource: str | Kind, optional: bool = False, **options: Unpack[Options]
) -> Callable[[F], F]:
    """Call the handler before an entity goes. It is never skipped, `optional` or not."""
    return declare(Reason.DELETE, resource, options, optional=optional)


def resume(*resource: str | Kind, **options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler once in each process that takes up an entity which is not new."""
    return declare(Reason.RESUME, resource, options)


def field(
    *resource: str | Kind, field: str | Sequence[str], **options: Unpack[Common]
) -> Callable[[F], F]:
    """Call the handler when one field differs from what it handled last, at first from nothing."""
    about: Options = {"field": field}
    return declare(Reason.FIELD, resource, {**about, **options})


def event(*resource: str | Kind, **options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler with what an entity is now whenever that is new, and when it has gone.

    Several changes may be one call. What it raises is logged, and not tried again.
    """
    return declare(Reason.EVENT, resource, options)


def startup(**options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler before any other. What it raises stops the engine."""
    return declare(Reason.STARTUP, (), options)


def cleanup(**options: Unpack[Options]) -> Callable[[F], F]:
    """Call the handler when no other is called any more."""
    return declare(Reason.CLEANUP, (), options)

"""kopf's timers, daemons and indexes as decorators. See `miren.reconcile.kopf`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Unpack

from miren.reconcile.kopf.declared import Function, Options, Reason, declare
from miren.reconcile.kopf.kinds import Kind

__all__ = ["daemon", "index", "timer"]

F = TypeVar("F", bound=Function)

#: How long a daemon that says nothing of it may go on once it was told to stop, in seconds.
_PATIENCE = 10.0


def timer(
    *resource: str | Kind,
    interval: float,
    initial_delay: float = 0.0,
    idle: float = 0.0,
    sharp: bool = False,
    **options: Unpack[Options],
) -> Callable[[F], F]:
    """Call the handler again and again, `interval` seconds after it ended."""
    return declare(
        Reason.TIMER, resource, options,
        interval=interval, initial_delay=initial_delay, idle=idle, sharp=sharp,
    )  # fmt: skip


def daemon(
    *resource: str | Kind,
    initial_delay: float = 0.0,
    cancellation_backoff: float | None = None,
    cancellation_timeout: float | None = None,
    **options: Unpack[Options],
) -> Callable[[F], F]:
    """Run the handler beside each entity. When it is to stop, `stopped` is set first; it is
    cancelled `cancellation_backoff` seconds later, and left behind `cancellation_timeout` seconds
    after that. Of one that says neither it is expected to end within ten seconds.
    """
    backoff = cancellation_backoff
    if backoff is None:
        backoff = _PATIENCE if cancellation_timeout is None else 0.0
    timeout = _PATIENCE if cancellation_timeout is None else cancellation_timeout
    return declare(
        Reason.DAEMON, resource, options,
        initial_delay=initial_delay, backoff=backoff, timeout=timeout,
    )  # fmt: skip


def index(*resource: str | Kind, **options: Unpack[Options]) -> Callable[[F], F]:
    """Make a function that says under which keys an entity is found, and as what.

    Handlers of all kinds are given the index under the function's name.
    """
    return declare(Reason.INDEX, resource, options)

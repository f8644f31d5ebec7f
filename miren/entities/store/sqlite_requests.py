"""What the writer of a SQLite store is asked for, each with the future that its answer goes to."""

from __future__ import annotations

import asyncio

from miren.base.records import record
from miren.entities.store.api import Lease, Put, TransactionResult
from miren.entities.store.rules import Transaction

__all__ = ["Defragment", "End", "Grant", "Request", "Stop", "Sweep", "Write", "size_of"]


@record
class Write:
    """Run a transaction."""

    transaction: Transaction
    future: asyncio.Future[TransactionResult]


@record
class Grant:
    """Begin a lease of `ttl` seconds."""

    lease: Lease
    ttl: float
    future: asyncio.Future[Lease]


@record
class End:
    """End a lease and delete what is attached to it."""

    lease: Lease
    future: asyncio.Future[None]


@record
class Sweep:
    """Forget history up to `revision`."""

    revision: int
    future: asyncio.Future[None]


@record
class Defragment:
    """Build the file anew."""

    future: asyncio.Future[None]


@record
class Stop:
    """Finish what came before, and end."""

    future: asyncio.Future[None]


Request = Write | Grant | End | Sweep | Defragment


def size_of(request: Request) -> int:
    """Return the bytes of values that a request may write."""
    if not isinstance(request, Write):
        return 0
    transaction = request.transaction
    operations = (*transaction.then, *transaction.otherwise)
    return sum([len(step.value) for step in operations if isinstance(step, Put)])

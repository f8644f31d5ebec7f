"""Tests as coroutines on a loop whose time jumps, and an engine over a memory store in it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any

from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.registry import Registry
from miren.reconcile.testing import run_virtual
from tests.builders import make_kinds


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run the test on a loop whose time jumps."""

    @wraps(test)
    def run() -> None:
        run_virtual(test())

    # What pytest would unwrap to is a coroutine function: it must not run it itself.
    del run.__dict__["__wrapped__"]
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def date() -> datetime:
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=now())


async def settle() -> None:
    """Let everything happen that needs no time."""
    await asyncio.sleep(0.001)


def make_client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=make_kinds(), now=date)


@asynccontextmanager
async def running(
    *controllers: Controller[Any] | Registry, store: Store | None = None, grace: float = 10.0
) -> AsyncIterator[Engine]:
    """Run an engine over a store that outlives it, with dates of virtual time."""
    engine = Engine(
        store or MemoryStore(), controllers, grace=grace, rng=random.Random(0), now=date
    )
    async with engine:
        yield engine

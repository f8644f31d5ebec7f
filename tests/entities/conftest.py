"""Every store that needs nothing but this process, and a client over each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient
from tests.builders import make_kinds


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "db")
    async with opened as store:
        yield store


@pytest.fixture
def client(store: Store) -> StoreClient:
    return StoreClient(store=store, kinds=make_kinds())

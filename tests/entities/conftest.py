"""A client over every store that needs nothing but this process."""

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
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreClient]:
    opened: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "db")
    async with opened as store:
        yield StoreClient(store=store, kinds=make_kinds())

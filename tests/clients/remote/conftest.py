"""A server over each store of this process, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miren.clients.remote import RemoteClient
from miren.entities.store.api import Store
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from tests.builders import KINDS
from tests.clients.remote.serving import Front, folder, serving
from tests.entities.beacons import Beacon, Buoy


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "db")
    async with opened as store:
        yield store


@pytest.fixture
async def socket() -> AsyncIterator[Path]:
    async with folder() as base:
        yield base / "s"


@pytest.fixture
async def front(store: Store, socket: Path) -> AsyncIterator[Front]:
    async with serving(store, socket, kinds=(*KINDS, Beacon, Buoy)) as front:
        yield front


@pytest.fixture
async def client(front: Front) -> AsyncIterator[RemoteClient]:
    async with RemoteClient(front.address, kinds=KINDS) as client:
        yield client

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from miren.entities.store.api import Store
from tests.backends import BACKENDS, make_store
from tests.etcd import Member


@pytest.fixture(params=BACKENDS)
async def each_store(
    request: pytest.FixtureRequest, tmp_path: Path, shared_etcd: Member
) -> AsyncIterator[Store]:
    """Give an open, empty store of each kind."""
    async with make_store(request.param, folder=tmp_path, etcd=shared_etcd) as store:
        yield store

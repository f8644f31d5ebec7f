from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contracts.runtime_contract import OpenRuntime, RuntimeContract
from tests.runtime.containerd.conftest import Instance

pytestmark = pytest.mark.host


class TestRunsc(RuntimeContract):
    runtime_class = "runsc"

    @pytest.fixture
    def open_runtime(self, instance: Instance) -> OpenRuntime:
        return instance.runtime

    @pytest.fixture(autouse=True)
    async def nothing_is_left(self, instance: Instance) -> AsyncIterator[None]:
        """After each test, all that its containers had is gone from the host."""
        yield
        assert await instance.leftovers() == []


class TestRunc(TestRunsc):
    runtime_class = "runc"

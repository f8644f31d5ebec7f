from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.server import Server, running_server


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    yield from running_server()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The module's server, running and empty of sandboxes before and after each test."""
    if shared.process is None:
        shared.start()
    yield shared
    if shared.process is None:
        shared.start()
    for line in shared.must("get", "sandboxes", "-o", "name").split():
        shared.must("delete", line)

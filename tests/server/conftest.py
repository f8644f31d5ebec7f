from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One real server for all tests of a module."""
    with running_server() as server:
        yield server

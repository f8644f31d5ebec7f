from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import EXAMPLE, Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One real server for all tests of a module, with the image `hello`."""
    with running_server() as server:
        built = server.cli("image", "build", EXAMPLE / "image")
        assert built.code == 0, built.err
        assert built.out.startswith("hello sha256:")
        yield server

"""The servers that commands are tried against.

Most modules share one, as people do: a test is about entities of its own names. What is about
everything there is, such as an export, takes `lone_server` as its `server`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.servers import EXAMPLE, Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One real server for all modules, with the image `hello`."""
    with _server_with_image() as server:
        yield server


@pytest.fixture(scope="module")
def lone_server() -> Iterator[Server]:
    """Another one, which only this module has."""
    with _server_with_image() as server:
        yield server


@contextmanager
def _server_with_image() -> Iterator[Server]:
    with running_server() as server:
        built = server.cli("image", "build", EXAMPLE / "image")
        assert built.code == 0, built.err
        assert built.out.startswith("hello sha256:")
        yield server

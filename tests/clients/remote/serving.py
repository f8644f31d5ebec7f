"""A server in this process: what serves clients in other ones, over whatever store a test has."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miren.entities.entity import Entity
from miren.entities.keyring import Keyring
from miren.entities.kinds import Kinds
from miren.entities.store.api import Store
from miren.entities.store_client import StoreClient
from miren.entities.versioned_client import VersionedClient
from miren.rpc.server import Call, Method, RpcServer, Stream
from miren.server.services.entrance import client_methods
from tests.builders import KINDS
from tests.folders import abandoned, claim

__all__ = ["Front", "folder", "serving"]

SORT = "mvrc"


@asynccontextmanager
async def folder() -> AsyncIterator[Path]:
    """Give a short folder, as the path of a unix socket has to be."""
    for left in abandoned(SORT):
        shutil.rmtree(left)
    base = claim(SORT)
    try:
        yield base
    finally:
        shutil.rmtree(base)


@dataclass(frozen=True)
class Front:
    """A server at `address`, and the client that it answers with."""

    address: str
    client: StoreClient


@asynccontextmanager
async def serving(
    store: Store,
    socket: Path,
    *,
    kinds: Iterable[type[Entity[Any, Any]]] = KINDS,
    keyring: Keyring | None = None,
    cuts: Iterable[int] = (),
) -> AsyncIterator[Front]:
    """Serve an open store at a socket. The first streams end after as many messages as `cuts`."""
    known = Kinds(kinds)
    below = StoreClient(store=store, kinds=known, keyring=keyring)
    client = VersionedClient(below, known)
    methods = _cut(client_methods(client, below, known, owner=os.geteuid()), iter(cuts))
    async with RpcServer(socket, methods, grace=0.1, heartbeat=0.2):
        yield Front(f"unix://{socket}", below)


def _cut(methods: Mapping[str, Method], cuts: Iterator[int]) -> Mapping[str, Method]:
    return {
        name: Stream(_shortened(method, cuts)) if isinstance(method, Stream) else method
        for name, method in methods.items()
    }


def _shortened(method: Stream, cuts: Iterator[int]) -> Any:
    async def messages(call: Call, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        left = next(cuts, None)
        async for message in method.handler(call, request):
            yield message
            if left is not None and (left := left - 1) <= 0:
                return

    return messages

"""Opens the store of a state folder, with the etcd below it where the server runs that itself."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from miren.base.errors import InvalidInput, Refused
from miren.entities.store.api import Store
from miren.entities.store.copying import NotEmpty, is_half_filled
from miren.entities.store.memory import MemoryStore
from miren.entities.store.retention import Retention
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store.sqlite_file import ForeignFile
from miren.entities.store.sqlite_integrity import damaged
from miren.server.config import Config, StoreConfig
from miren.server.stores.choosing import Choice, note, recorded
from miren.server.stores.managed import ManagedEtcd, pids_of, stop_all

__all__ = ["PREFIX", "filling", "open_store", "remove", "serving_store", "tidy"]

log = logging.getLogger(__name__)

#: Where an etcd of our own has the keys.
PREFIX = "/miren"


@asynccontextmanager
async def serving_store(config: Config, choice: Choice) -> AsyncIterator[Store]:
    """Yield the store that a server works with, and note it as the one of the folder.

    Raises Refused for a store that an import or a move has filled only in part.
    """
    state = config.server.state_dir
    await tidy(config, choice)
    if choice.place and recorded(state) == choice and not choice.path(state).exists():
        raise Refused(
            f"the store of {state} is {choice.path(state)}, and that is not there",
            hint="restore a snapshot, or remove store.json to begin with an empty store",
        )
    async with open_store(config, choice) as store:
        if await is_half_filled(store):
            raise Refused(
                "the store holds a part of an import or a move that was interrupted",
                hint="run the same `miren store import` again, or the move where it comes from",
            )
        if choice.backend != "memory" and recorded(state) != choice:
            note(state, choice)
        yield store


@asynccontextmanager
async def open_store(config: Config, choice: Choice) -> AsyncIterator[Store]:
    """Yield a store of the folder, open. An etcd of our own is left running.

    Raises as the store does when it cannot be opened, RuntimeFailure when etcd cannot be started.
    """
    server = config.server
    path = choice.path(server.state_dir)
    match choice.backend:
        case "memory":
            async with MemoryStore(retention=Retention()) as memory:
                yield memory
        case "sqlite":
            async with _sqlite(path, config.store) as sqlite:
                yield sqlite
        case "etcd" if choice.is_managed:
            own = StoreConfig(etcd_prefix=PREFIX)
            daemon = ManagedEtcd(server.state_dir, server.run_dir, choice.place)
            async with daemon, etcd_store((daemon.endpoint,), own) as managed:
                yield managed
        case "etcd":
            async with etcd_store(config.store.etcd_endpoints, config.store) as etcd:
                yield etcd


@asynccontextmanager
async def _sqlite(path: Path, config: StoreConfig) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        store = SQLiteStore(path, durability=config.durability, retention=Retention())
        try:
            await stack.enter_async_context(store)
        except ForeignFile as error:
            # Nobody named this file: it is where the store was.
            raise damaged(path, "what is there is not a Miren store") from error
        yield store


def etcd_store(endpoints: tuple[str, ...], config: StoreConfig) -> Store:
    """Return the store in the etcd at `endpoints`, not yet open.

    Raises InvalidInput when what it needs is not installed, or a file cannot be read.
    """
    try:
        from miren.entities.store.etcd.store import EtcdStore
        from miren.entities.store.etcd.tls import TLS
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(("grpc", "google")):
            raise
        raise InvalidInput(
            f"the etcd store needs {error.name}, which is not installed",
            hint="pip install 'miren[etcd]'",
        ) from error
    ca, cert, key = config.etcd_ca_file, config.etcd_cert_file, config.etcd_key_file
    tls = TLS(ca, cert, key) if ca or cert else None
    return EtcdStore(endpoints, prefix=config.etcd_prefix, tls=tls, user=_user(config))


@contextmanager
def filling(config: Config, choice: Choice) -> Iterator[None]:
    """Say what is to be done, where the body finds that a cluster holds something already."""
    try:
        yield
    except NotEmpty as error:
        if choice.backend != "etcd" or choice.is_managed:
            raise
        prefix = config.store.etcd_prefix.removesuffix("/")
        raise Refused(
            f"{error.message}: the cluster's prefix {prefix or '/'} is taken",
            hint="start the server with another --etcd-prefix; or, if nobody uses or wants back "
            f"what is there, remove it with `etcdctl del --prefix {prefix}/`",
        ) from error


async def tidy(config: Config, choice: Choice) -> None:
    """Remove what an interrupted change of stores left, and end an etcd that is not in use."""
    state = config.server.state_dir
    found = recorded(state)
    if found and found.pending:
        await remove(state, found.pending)
        note(state, replace(found, pending=None))
    if not choice.is_managed:
        await stop_all(state / "etcd")


async def remove(state_dir: Path, choice: Choice) -> None:
    """Remove a store of our own and all its data."""
    path = choice.path(state_dir)
    if choice.is_managed:
        await stop_all(path)
        assert not list(pids_of(path))
    if choice.place:
        await asyncio.to_thread(_remove_files, path)


def _remove_files(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    for ending in ("", "-wal", "-shm", ".lock", ".version", ".snapshot"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _user(config: StoreConfig) -> tuple[str, str] | None:
    if not config.etcd_user or config.etcd_password_file is None:
        return None
    file = config.etcd_password_file
    try:
        with file.open() as opened:
            password = opened.read().rstrip("\n")
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the password file {file} cannot be read: {error}") from error
    if mode & stat.S_IRWXO:
        log.warning(
            "everybody on this host may use the password file: chmod o= %s",
            file,
            extra={"mode": f"{mode:04o}"},
        )
    return config.etcd_user, password

"""Opens the store of a state folder, with the etcd below it where the server runs that itself."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from miren.base.errors import InvalidInput, Refused
from miren.entities.store.api import Store
from miren.entities.store.exporting import is_half_imported
from miren.entities.store.memory import MemoryStore
from miren.entities.store.retention import Retention
from miren.entities.store.sqlite import SQLiteStore
from miren.server.config import Config, StoreConfig
from miren.server.stores.choosing import Choice, note, recorded
from miren.server.stores.managed import ManagedEtcd, pids_of, stop_all

__all__ = ["PREFIX", "open_store", "remove", "serving_store", "tidy"]

#: Where an etcd of our own has the keys.
PREFIX = "/miren"


@asynccontextmanager
async def serving_store(config: Config, choice: Choice) -> AsyncIterator[Store]:
    """Yield the store that a server works with, and note it as the one of the folder.

    Raises Refused for a store that an import has filled only in part.
    """
    state = config.server.state_dir
    await tidy(config, choice)
    if choice.place and recorded(state) == choice and not choice.path(state).exists():
        raise Refused(
            f"the store of {state} is {choice.path(state)}, and that is not there",
            hint="restore a snapshot, or remove store.json to begin with an empty store",
        )
    async with open_store(config, choice) as store:
        if await is_half_imported(store):
            raise Refused(
                "the store holds a part of an import that was interrupted",
                hint="run the same `miren store import` again",
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
            durability, retention = config.store.durability, Retention()
            async with SQLiteStore(path, durability=durability, retention=retention) as sqlite:
                yield sqlite
        case "etcd" if choice.is_managed:
            own = StoreConfig(etcd_prefix=PREFIX)
            daemon = ManagedEtcd(server.state_dir, server.run_dir, choice.place)
            async with daemon, etcd_store((daemon.endpoint,), own) as managed:
                yield managed
        case "etcd":
            async with etcd_store(config.store.etcd_endpoints, config.store) as etcd:
                yield etcd


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
        return config.etcd_user, file.read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the password file {file} cannot be read: {error}") from error

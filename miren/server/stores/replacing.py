"""Restore and import: a new store in place of the folder's, while no server works with it.

The new store is made beside the old one and takes over at one stroke, see `choosing`; the old one
is kept where it was, for whoever replaced the wrong thing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from miren.base.errors import InvalidInput, Refused, RuntimeFailure
from miren.entities.store.backup import (
    REVISION_GAP,
    Manifest,
    copy_verified,
    read_manifest,
    restore_sqlite,
)
from miren.entities.store.copying import unheard
from miren.entities.store.exporting import ExportHeader, import_into, verify_export
from miren.server.config import Config
from miren.server.stores.choosing import Choice, choice_of, fresh, note, recorded
from miren.server.stores.locking import owning
from miren.server.stores.managed import MEMBER, PEER_URL, ManagedEtcd, run_tool, stop_all
from miren.server.stores.opening import PREFIX, filling, open_store, remove, tidy

__all__ = ["Replaced", "import_export", "restore"]

_RESTORE_WITHIN = 3600.0

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Replaced:
    """The store that took over, its UUID, and where the one before is kept, if there was one."""

    choice: Choice
    uuid: str
    kept: Path | None


async def restore(
    config: Config, source: Path, *, tell: Tell = unheard
) -> tuple[Manifest, Replaced]:
    """Make the folder's store anew from a snapshot, as another store with a UUID of its own.

    `tell` hears how many bytes are read. Raises Refused while a server runs, or when the snapshot
    is of another backend than the store; InvalidInput when it is not whole. The store is as it was
    then.
    """
    manifest = read_manifest(source)
    with owning(config.server.state_dir):
        choice = _own(config, manifest.backend)
        if choice.backend != manifest.backend:
            raise Refused(
                f"the snapshot is of {manifest.backend or 'another backend'}, "
                f"and the store is {choice.told()}",
                hint="an export goes into any: `miren store export`, `miren store import`",
            )
        async with _replacing(config, choice) as new:
            path = new.path(config.server.state_dir)
            if new.backend == "sqlite":
                await restore_sqlite(source, path, tell=tell)
            else:
                await _restore_etcd(config, source, new, tell)
        return manifest, await _replaced(config, choice)


async def import_export(
    config: Config, source: Path, *, force: bool = False, tell: Tell = unheard
) -> tuple[ExportHeader, Replaced]:
    """Make the folder's store anew from an export; `tell` hears how many keys are written.

    Raises Refused while a server runs, and where there is a store unless `force` replaces it;
    InvalidInput when the file is not whole. The store is as it was then. In a cluster that others
    run the keys go where the configuration says, which must be empty.
    """
    header = await asyncio.to_thread(verify_export, source)
    with owning(config.server.state_dir):
        choice = choice_of(config)
        if choice.backend == "memory":
            raise InvalidInput("a store in memory does not outlive an import")
        if not choice.place:
            async with open_store(config, choice) as cluster:
                with filling(config, choice):
                    await import_into(cluster, source, tell=tell)
            note(config.server.state_dir, choice)
            return header, await _replaced(config, choice)
        if recorded(config.server.state_dir) and not force:
            raise Refused(
                f"{config.server.state_dir} has a store",
                hint="--force puts the export in its place; the store is kept beside",
            )
        async with _replacing(config, choice) as new, open_store(config, new) as store:
            await import_into(store, source, tell=tell)
        return header, await _replaced(config, choice)


def _own(config: Config, backend: str) -> Choice:
    """Return the store of the folder, or what it will have; raise unless it is a file of ours."""
    bare = recorded(config.server.state_dir) is None and config.store.backend is None
    if bare and backend == "etcd" and not config.store.etcd_endpoints:
        return Choice("etcd", "data")
    choice = choice_of(config)
    if not choice.place:
        raise Refused(
            f"a snapshot cannot be restored into {choice.told()}",
            hint="use etcd's own tools for a cluster, or import an export",
        )
    return choice


@asynccontextmanager
async def _replacing(config: Config, choice: Choice) -> AsyncIterator[Choice]:
    """Yield the store to make; it takes over when the body is through, or is removed."""
    state = config.server.state_dir
    await tidy(config, choice)
    before = recorded(state)
    assert choice.backend != "memory"
    # Even a folder without a store gets one by another name than a first start would look for.
    new = fresh(choice.backend)
    if before is not None:
        note(state, replace(before, pending=new))
    try:
        yield new
        await stop_all(state / "etcd")
        note(state, new)
    except BaseException:
        if before is not None:
            note(state, replace(before, pending=new))
        await remove(state, new)
        if before is not None:
            note(state, before)
        raise


async def _replaced(config: Config, before: Choice) -> Replaced:
    state = config.server.state_dir
    choice = recorded(state)
    assert choice is not None
    async with open_store(config, choice) as store:
        uuid = (await store.status()).uuid
    kept = before.path(state) if choice.place != before.place else None
    return Replaced(choice, uuid, kept if kept and kept.exists() else None)


async def _restore_etcd(config: Config, source: Path, new: Choice, tell: Tell) -> None:
    data = new.path(config.server.state_dir)
    data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = data.with_name(data.name + ".snapshot")
    copy.unlink(missing_ok=True)
    manifest = await asyncio.to_thread(copy_verified, source, copy, tell=tell)
    try:
        await run_tool(await _restore_command(copy, data), within=_RESTORE_WITHIN)
    finally:
        copy.unlink(missing_ok=True)
    from miren.entities.store.etcd.client import Client
    from miren.entities.store.etcd.identity import identify, renew
    from miren.entities.store.etcd.mapping import KeySpace

    server = config.server
    daemon = ManagedEtcd(server.state_dir, server.run_dir, new.place)
    async with daemon, Client(endpoints=(daemon.endpoint,)) as client:
        space = KeySpace(PREFIX)
        # One of a cluster may hold our store below another prefix; ours would look empty.
        if (await identify(client, space))[0] != manifest.uuid:
            raise InvalidInput(
                f"{source} does not hold the store {manifest.uuid} below {PREFIX}",
                hint="restore a cluster with etcd's own tools, and name it in etcd_endpoints",
            )
        await renew(client, space)
    async with open_store(config, new) as store:
        # Nobody is to go on in the old history where this etcd cannot move the revisions on.
        await store.compact((await store.status()).revision)


async def _restore_command(copy: Path, data: Path) -> list[str]:
    """Return the command of the etcd that is here; newer ones can move the revisions on."""
    words = [
        "snapshot",
        "restore",
        str(copy),
        f"--data-dir={data}",
        f"--name={MEMBER}",
        f"--initial-cluster={MEMBER}={PEER_URL}",
        f"--initial-advertise-peer-urls={PEER_URL}",
    ]
    try:
        known = await run_tool(["etcdutl", "snapshot", "restore", "--help"], within=30.0)
    except RuntimeFailure:
        return ["etcdctl", *words]
    if "--bump-revision" in known:
        words += [f"--bump-revision={REVISION_GAP}", "--mark-compacted"]
    return ["etcdutl", *words]

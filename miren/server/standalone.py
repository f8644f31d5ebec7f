"""The standalone server: one node, all parts in one process, put together here.

In order: store, runtime, controllers, key rotation, API; left in the opposite order. Sandboxes,
and the containerd below them, are not parts of the process: they live on when it ends and are
adopted by the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from miren.controllers.app import AppController
from miren.controllers.disk import DiskController
from miren.controllers.garbage import collectors
from miren.controllers.project import ProjectController
from miren.controllers.sandbox import SandboxController
from miren.controllers.version import VersionController
from miren.entities.client import Client, Mutators
from miren.entities.entity import Entity
from miren.entities.gen import KINDS, Node, Project, Sandbox
from miren.entities.gen.compute import NodePhase, NodeStatus
from miren.entities.kinds import Kinds
from miren.entities.plugins import load_schemas
from miren.entities.store.holding import HeldStore
from miren.entities.store_client import StoreClient
from miren.entities.upgrading import upgrading
from miren.entities.versioned_client import VersionedClient
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.rpc.server import RpcServer
from miren.runtime.api import Runtime
from miren.server.config import Config
from miren.server.keys import key_source
from miren.server.probes import Probes
from miren.server.resealing import Rotation
from miren.server.runtimes import instance_of, open_runtime
from miren.server.secrets import NodeSecrets
from miren.server.services.admin import AdminService
from miren.server.services.entrance import client_methods
from miren.server.services.events import EventService
from miren.server.services.finalizers import FinalizerService
from miren.server.services.keys import KeyService
from miren.server.services.logs import LogService
from miren.server.services.stores import StoreService
from miren.server.stores.choosing import Choice, choice_of
from miren.server.stores.locking import owning
from miren.server.stores.moving import Mover
from miren.server.stores.opening import serving_store

__all__ = ["run", "serving"]

log = logging.getLogger(__name__)


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is in work and return.

    When the store has moved, all parts are put together anew, over the new one.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with owning(config.server.state_dir):
        while not stop.is_set():
            config = await _serve(config, stop)
    log.info("stopping; sandboxes stay")


async def _serve(config: Config, stop: asyncio.Event) -> Config:
    """Serve until `stop`, or until the store has moved; return the configuration for going on."""
    moved: asyncio.Future[Choice] = asyncio.get_running_loop().create_future()
    async with serving(config, moved=moved):
        log.info("serving", extra={"socket": str(config.socket)})
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((stopping, moved), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
    if not moved.done():
        return config
    # Whatever the configuration said, it meant the store before.
    return replace(config, store=replace(config.store, backend=moved.result().backend))


@asynccontextmanager
async def serving(config: Config, *, moved: asyncio.Future[Choice]) -> AsyncIterator[Engine]:
    """Run a server for as long as the body runs; `moved` is set when its store is another one."""
    config.server.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    instance, choice = instance_of(config), choice_of(config)
    async with AsyncExitStack() as stack:
        store = HeldStore(await stack.enter_async_context(serving_store(config, choice)))
        mover = Mover(config, choice, store, moved.set_result)
        runtime = await stack.enter_async_context(open_runtime(config, instance))
        schemas = load_schemas(KINDS)
        known = (*KINDS, *(kind for plugin in schemas for kind in plugin.kinds))
        kinds, source = Kinds(known), key_source(config)
        keyring = await source.load()
        below = StoreClient(store=store, kinds=kinds, mutators=_mutators(config), keyring=keyring)
        client = VersionedClient(below, kinds)
        engine = Engine(
            client,
            _controllers(config, client, runtime),
            plugins=True,
            known=known,
            broken={plugin.name: plugin.error for plugin in schemas if plugin.error},
            across=partial(_across, known),
        )
        for kind in engine.kinds:
            kinds.add(kind)
        await stack.enter_async_context(upgrading(below))
        await stack.enter_async_context(engine)
        await _announce(client, config)
        rotation = Rotation(store, kinds, keyring, source)
        await stack.enter_async_context(rotation.running())
        api = _api(config, client, below, kinds, runtime, engine, rotation, mover, instance)
        await stack.enter_async_context(api)
        yield engine


def _controllers(config: Config, client: Client, runtime: Runtime) -> Sequence[Controller[Any]]:
    state, node = config.server.state_dir, config.server.node_name
    is_process = config.runtime.adapter == "process"
    default_class = "process" if is_process else config.runtime.default_class
    return (
        AppController(),
        VersionController(),
        SandboxController(
            runtime,
            node=node,
            logs=state / "logs",
            default_class=default_class,
            secrets=NodeSecrets(client, node),
        ),
        DiskController(state / "disks", node=node),
    )


def _across(
    known: Sequence[type[Entity[Any, Any]]], kinds: Sequence[type[Entity[Any, Any]]]
) -> Sequence[Controller[Any]]:
    """Return what works with every kind there is, those without a controller included."""
    every = tuple(kind.entity for kind in Kinds((*known, *kinds)).all_stored())
    return (ProjectController(every), *collectors(every))


def _mutators(config: Config) -> Mutators:
    """Return the mutator that binds new sandboxes: a standalone server has one node."""

    def bind(new: Entity[Any, Any], old: Entity[Any, Any] | None) -> Entity[Any, Any]:
        if isinstance(new, Sandbox) and new.spec.node is None:
            node = old.spec.node if isinstance(old, Sandbox) else None
            spec = new.spec.model_copy(update={"node": node or config.server.node_name})
            return new.with_spec(spec)
        return new

    return (bind,)


async def _announce(client: Client, config: Config) -> None:
    """Make the project that is always there, and the node known."""
    await client.ensure(Project.new("default"))
    node = await client.ensure(Node.new(config.server.node_name))
    status = NodeStatus(phase=NodePhase.READY, version=version("miren"))
    if node.status != status:
        await client.update_status(node.with_status(status))


def _api(
    config: Config,
    client: Client,
    below: StoreClient,
    kinds: Kinds,
    runtime: Runtime,
    engine: Engine,
    rotation: Rotation,
    mover: Mover,
    instance: str,
) -> RpcServer:
    owner, state, store = os.geteuid(), config.server.state_dir, below.store
    facts = {
        "node": config.server.node_name,
        "runtime": config.runtime.adapter,
        "instance": instance,
        "stateDir": str(state),
    }
    services = (
        EventService(client, kinds, owner=owner),
        FinalizerService(kinds, engine.finalizers, owner=owner),
        LogService(client, state / "logs", owner=owner),
        AdminService(
            runtime,
            engine.health,
            store=store,
            kinds=kinds,
            facts=facts,
            scratch=state / "uploads",
            owner=owner,
        ),
        KeyService(rotation, owner=owner),
        StoreService(mover, owner=owner),
    )
    methods = dict(client_methods(client, below, kinds, owner=owner))
    for one in services:
        methods.update(one.methods())
    return RpcServer(config.socket, methods, pages=Probes(engine, store).pages())

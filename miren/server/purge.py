"""Take back everything a server left on its host. The server itself must have stopped."""

from __future__ import annotations

import asyncio
import shutil

from miren.base.errors import Refused, Unavailable
from miren.rpc.calls import Calls
from miren.server.config import Config
from miren.server.runtimes import instance_of
from miren.server.stores.locking import owning
from miren.server.stores.managed import stop_all

__all__ = ["purge"]


async def purge(config: Config, *, data: bool) -> list[str]:
    """Remove containers, network and containerd of this instance; with `data` all state too.

    An etcd of the server's own is stopped; without `data` its data stays, as the other stores' do.

    Whichever runtime made them: the folders tell. Returns a line for what was removed; raises
    Refused while the server runs.
    """
    await asyncio.to_thread(_refuse_running, config)
    if not await asyncio.to_thread(config.server.state_dir.exists):
        return await _purge(config, data=data)
    with owning(config.server.state_dir):
        return await _purge(config, data=data)


async def _purge(config: Config, *, data: bool) -> list[str]:
    state, run = config.server.state_dir, config.server.run_dir
    done: list[str] = []
    if await asyncio.to_thread((state / "containerd").exists):
        from miren.runtime.containerd.purge import purge as purge_host

        instance = instance_of(config)
        await purge_host(instance, state, run)
        done.append(f"removed the containers and the network of instance {instance}")
    if await asyncio.to_thread((state / "containers").exists):
        done += await _purge_processes(config)
    if await stop_all(state / "etcd"):
        done.append("stopped the store's etcd" + ("" if data else "; its data stays"))
    for folder in (state, run) if data else ():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        done.append(f"removed {folder}")
    return done


async def _purge_processes(config: Config) -> list[str]:
    from miren.runtime.process.runtime import ProcessRuntime

    async with ProcessRuntime(config.server.state_dir, instance=instance_of(config)) as runtime:
        containers = await runtime.list()
        for container in containers:
            await runtime.delete(container.id)
        return [f"removed process {container.id}" for container in containers]


def _refuse_running(config: Config) -> None:
    calls = Calls(f"unix://{config.socket}", timeout=5)
    try:
        status = calls.call("miren.server.v1.Server/Status", {})
    except Unavailable:
        return
    raise Refused(
        f"a server ({status['node']}) still runs at {config.socket}", hint="stop it first"
    )

"""Take back everything a server left on its host. The server itself must have stopped."""

from __future__ import annotations

import asyncio
import shutil

from miren.base.errors import Refused
from miren.rpc.calls import Calls
from miren.base.errors import Unavailable
from miren.server.config import Config
from miren.server.runtimes import instance_of, open_runtime

__all__ = ["purge"]


async def purge(config: Config, *, data: bool) -> list[str]:
    """Remove containers, network and containerd of this instance; with `data` all state too.

    Returns a line for what was removed. Raises Refused while the server runs.
    """
    await asyncio.to_thread(_refuse_running, config)
    done: list[str] = []
    instance = instance_of(config)
    if config.runtime.adapter == "process":
        async with open_runtime(config, instance) as runtime:
            for container in await runtime.list():
                await runtime.delete(container.id)
                done.append(f"removed container {container.id}")
    else:
        from miren.runtime.containerd.purge import purge as purge_host

        await purge_host(instance, config.server.state_dir, config.server.run_dir)
        done.append(f"removed all containers and the network of instance {instance}")
    for folder in (config.server.state_dir, config.server.run_dir) if data else ():
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        done.append(f"removed {folder}")
    return done


def _refuse_running(config: Config) -> None:
    try:
        status = Calls(f"unix://{config.socket}", timeout=5).call(
            "miren.server.v1.Server/Status", {}
        )
    except Unavailable:
        return
    raise Refused(
        f"a server ({status['node']}) still runs at {config.socket}",
        hint="stop it first",
    )

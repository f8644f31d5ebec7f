"""Which runtime a server uses, made from its configuration."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from miren.base.errors import Refused
from miren.base.ids import new_instance_id
from miren.runtime.api import Runtime
from miren.server.config import Config

__all__ = ["instance_of", "open_runtime"]


def instance_of(config: Config) -> str:
    """Return the id that marks what this state folder owns on the host; make it if it is new."""
    path = config.server.state_dir / "instance"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        instance = new_instance_id()
        path.write_text(instance + "\n")
        return instance


@asynccontextmanager
async def open_runtime(config: Config, instance: str) -> AsyncIterator[Runtime]:
    """Yield the configured runtime, ready. Containers, and containerd, outlive it."""
    server = config.server
    if config.runtime.adapter == "process":
        from miren.runtime.process.runtime import ProcessRuntime

        async with ProcessRuntime(server.state_dir, instance=instance) as process:
            yield process
        return
    if os.geteuid() != 0:
        raise Refused(
            "the containerd runtime needs root",
            hint="run as root, or with --runtime process, which isolates nothing",
        )
    # Only here: grpc and pyroute2 are an extra, and slow to import.
    from miren.runtime.containerd.adapter import ContainerdRuntime
    from miren.runtime.containerd.daemon import ContainerdDaemon
    from miren.runtime.network import Network

    daemon = ContainerdDaemon(server.state_dir, server.run_dir)
    network = Network(instance, subnet=config.network.subnet or None)
    async with daemon, ContainerdRuntime(daemon, network, instance=instance) as runtime:
        yield runtime

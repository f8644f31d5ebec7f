"""The `Runtime` over a private containerd.

A container is a record (its spec and our notes in labels), a snapshot, a network namespace and
a folder of small files, all named by its id, made in this order by `create`. `start` adds the
task: a shim with the sandbox below it. So whatever exists of a container, its record exists,
until `delete` removes the record last. Nothing is remembered in this process but locks and
which addresses are in use, and those are read back from the records.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from miren.base.backoff import Backoff
from miren.base.errors import DeadlineExceeded, InvalidInput, MirenError, NotFound, RuntimeFailure
from miren.runtime.api import ContainerId, ContainerSpec, ContainerState, Image, RuntimeEvent
from miren.runtime.containerd import cgroups
from miren.runtime.containerd.client import Containers, Record, Task, TaskStatus
from miren.runtime.containerd.connection import Connection
from miren.runtime.containerd.content import Content
from miren.runtime.containerd.daemon import ContainerdDaemon
from miren.runtime.containerd.images import Images
from miren.runtime.containerd.locks import KeyedLocks, to_the_end
from miren.runtime.containerd.processes import kill_shim
from miren.runtime.containerd.spec import HostFiles, cgroup_path, runtime_spec
from miren.runtime.containerd.state import STARTED, Notes, describe, record_labels
from miren.runtime.containerd.wrapper import install_wrapper
from miren.runtime.network import Names, Network

__all__ = ["ContainerdRuntime"]

_KILLED_WITHIN = 10.0
_BACKOFF = Backoff(first=0.05, cap=2.0)
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


class ContainerdRuntime:
    """Containers of one instance. The daemon must be running; open with `async with`."""

    def __init__(self, daemon: ContainerdDaemon, network: Network, *, instance: str) -> None:
        self._places = daemon.places
        self._network = network
        self._instance = instance
        self._locks = KeyedLocks()
        self._connection: Connection | None = None

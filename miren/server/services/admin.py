"""`miren.server.v1.Server` and `miren.images.v1.Images`: the server itself, and its images."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput, MirenError
from miren.entities.checking import check
from miren.entities.findings import Finding, named
from miren.entities.kinds import Kinds
from miren.entities.repairing import Repairs, repair
from miren.entities.store.api import Store
from miren.reconcile.health import ControllerHealth
from miren.rpc.server import Call, Method, Unary, Upload
from miren.runtime.api import Runtime
from miren.server.services import requests
from miren.server.services.entities import actor_of
from miren.server.services.stores import told_of

__all__ = ["AdminService"]

Message = Mapping[str, Any]


class AdminService:
    """Says what this server is, how its controllers do, how its store is; takes images."""

    def __init__(
        self,
        runtime: Runtime,
        health: Callable[[], Sequence[ControllerHealth]],
        *,
        store: Store,
        kinds: Kinds,
        facts: Mapping[str, str],
        scratch: Path,
        owner: int,
    ) -> None:
        self._runtime = runtime
        self._health = health
        self._store = store
        self._kinds = kinds
        self._facts = facts
        self._scratch = scratch
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            "miren.server.v1.Server/Status": Unary(self.status),
            "miren.server.v1.Server/Fsck": Unary(self.fsck),
            "miren.images.v1.Images/Import": Upload(self.import_image),
        }

    async def status(self, call: Call, request: Message) -> Message:
        """Return the version, the node and the state of each controller."""
        actor_of(call, owner=self._owner)
        controllers = [
            {
                "name": one.name,
                "running": one.is_running,
                "queued": one.queued,
                "reconciles": one.reconciles,
                "errors": one.errors,
                "lastError": one.last_error,
            }
            for one in self._health()
        ]
        facts = {"version": version("miren"), **self._facts}
        return {**facts, "store": await self._store_status(), "controllers": controllers}

    async def _store_status(self) -> Message:
        try:
            return told_of(await self._store.status())
        except MirenError as error:
            # A server whose store is away can still say how the rest of it is.
            return {"error": error.message}

    async def fsck(self, call: Call, request: Message) -> Message:
        """Say what is wrong in the store; with `repair`, put right what follows from entities."""
        actor_of(call, owner=self._owner)
        is_repairing = requests.flag(request, "repair")
        report = await check(self._store, self._kinds)
        repairs = Repairs((), report.problems)
        if is_repairing and not report.is_clean:
            repairs = await repair(self._store, self._kinds, report)
        return {
            "revision": str(report.revision),
            "entities": report.entities,
            "keys": report.keys,
            "unknown": dict(report.unknown),
            "problems": [_finding(each) for each in report.problems],
            "warnings": [_finding(each) for each in report.findings if each.fault.is_warning],
            "repaired": list(repairs.done),
            "left": [_finding(each) for each in repairs.left],
        }

    async def import_image(self, call: Call) -> Message:
        """Store the OCI archive that is the request's body as the image `?name=`."""
        actor_of(call, owner=self._owner)
        name = call.query.get("name", "")
        if not name or call.body is None:
            raise InvalidInput("an image needs ?name= and a body")
        await asyncio.to_thread(self._scratch.mkdir, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".tar") as file:
            async for chunk in call.body:
                await asyncio.to_thread(file.write, chunk)
            await asyncio.to_thread(file.flush)
            image = await self._runtime.import_image(Path(file.name), name)
        return {"name": image.name, "digest": image.digest}


def _finding(finding: Finding) -> Message:
    entity = named(finding.entity) if finding.entity else ""
    told = {"fault": finding.fault.value, "key": finding.key, "message": finding.told}
    return {**told, "entity": entity, "repairable": finding.fault.is_repairable}

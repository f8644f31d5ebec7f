"""`miren.server.v1.Server` and `miren.images.v1.Images`: the server itself, and its images."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from miren.base.errors import InvalidInput
from miren.reconcile.engine import ControllerHealth
from miren.rpc.server import Call, Method, Unary, Upload
from miren.runtime.api import Runtime
from miren.server.services.entities import actor_of

__all__ = ["AdminService"]

Message = Mapping[str, Any]


class AdminService:
    """Says what this server is and how its controllers do; takes images."""

    def __init__(
        self,
        runtime: Runtime,
        health: Callable[[], Sequence[ControllerHealth]],
        *,
        facts: Mapping[str, str],
        scratch: Path,
        owner: int,
    ) -> None:
        self._runtime = runtime
        self._health = health
        self._facts = facts
        self._scratch = scratch
        self._owner = owner

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by their full names."""
        return {
            "miren.server.v1.Server/Status": Unary(self.status),
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
        return {"version": version("miren"), **self._facts, "controllers": controllers}

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

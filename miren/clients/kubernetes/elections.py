"""Elections by Lease objects, as Kubernetes' own controllers hold them.

One Lease is one election: whoever is written there leads, renews it, and is replaced when nobody
did so for its duration. That is measured with the observer's own clock, from when it saw the last
change; clocks of machines are never compared. A leader that cannot renew stops a fifth of that
time before others may follow.

What this is not: an API that refuses the late writes of a deposed leader. A client that is fenced
here stops by itself as soon as it knows; what it has in flight then is only guarded by the version
of the object that it writes to.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from miren.base.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from miren.base.ids import new_uid
from miren.base.interrupting import beside
from miren.clients.kubernetes.writing import Document, Writer
from miren.entities.elections import Candidate, Leadership

__all__ = ["elected", "leader_of"]

log = logging.getLogger(__name__)

_API = "/apis/coordination.k8s.io/v1"
_MARGIN = 1 / 5
_LOOKS = 5  # within the time to live
_APART = "_"  # between a holder and what makes each of its candidacies another one


@asynccontextmanager
async def elected(
    writer: Writer, project: str, name: str, *, holder: str, ttl: float, rng: random.Random
) -> AsyncIterator[Leadership]:
    """Wait until `holder` leads; see `Client.elect`. Who comes first when it is free leads."""
    if not name or not holder:
        raise InvalidInput("an election needs a name, and a holder who stands")
    candidacy = _Candidacy(writer, project, name, f"{holder}{_APART}{new_uid()}", ttl)
    await candidacy.wait_for_turn(rng)
    lost = asyncio.Event()
    key, since = f"leases/{project}/{name}", int(candidacy.version)
    try:
        async with beside(candidacy.renew(lost), name=f"renewing {key}"):
            yield Leadership(name, holder, key, since, since, lost)
    finally:
        if not lost.is_set():
            lost.set()
            await candidacy.give_up()


async def leader_of(writer: Writer, project: str, name: str) -> Candidate | None:
    """Return who leads; None where nobody does, or seems to be dead by its own words."""
    try:
        lease = await writer.fetch(_item(project, name), about=f"lease/{name}")
    except NotFound:
        return None
    spec = lease.get("spec") or {}
    who, since = spec.get("holderIdentity"), spec.get("acquireTime")
    renewed = spec.get("renewTime")
    if not who or not renewed:
        return None
    age = (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    if age > spec.get("leaseDurationSeconds", 15):
        return None
    begun = datetime.fromisoformat(since) if since else None
    revision = int(lease["metadata"]["resourceVersion"])
    key = f"leases/{project}/{name}"
    return Candidate(who.rpartition(_APART)[0] or who, key, revision, begun)


@dataclass(slots=True)
class _Candidacy:
    writer: Writer
    project: str
    name: str
    identity: str
    ttl: float
    version: str = ""  # of the Lease as it was read or written last
    seen_at: float = 0.0  # when it was seen to change
    transitions: int = 0

    async def wait_for_turn(self, rng: random.Random) -> None:
        """Return once the lease is ours."""
        while not await self._try():  # noqa: ASYNC110  # its end is told by nobody
            await asyncio.sleep(self.ttl / _LOOKS * (0.8 + 0.4 * rng.random()))

    async def _try(self) -> bool:
        about = f"lease/{self.name}"
        try:
            lease = await self.writer.fetch(_item(self.project, self.name), about=about)
        except NotFound:
            return await self._make()
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        now = asyncio.get_running_loop().time()
        if metadata["resourceVersion"] != self.version:
            self.version, self.seen_at = metadata["resourceVersion"], now
        self.transitions = spec.get("leaseTransitions") or 0
        if spec.get("holderIdentity") == self.identity:
            return True  # written before, and only the answer was lost
        alive = now - self.seen_at < (spec.get("leaseDurationSeconds") or 0)
        if spec.get("holderIdentity") and alive:
            return False
        taken = {**self._spec(), "acquireTime": _now(), "leaseTransitions": self.transitions + 1}
        return await self._write(taken)

    async def _make(self) -> bool:
        document = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name},
            "spec": {**self._spec(), "acquireTime": _now(), "leaseTransitions": 0},
        }
        try:
            made = await self.writer.send(
                "POST", _leases(self.project), document, about=f"lease/{self.name}"
            )
        except (AlreadyExists, OutcomeUnknown):
            return False
        self.version = made["metadata"]["resourceVersion"]
        return True

    async def renew(self, lost: asyncio.Event) -> None:
        """Renew until cancelled, or until it is lost."""
        try:
            why = await self._renewing()
        except Exception as error:
            log.exception("renewing broke", extra={"election": self.name})
            why = repr(error)
        log.warning("leadership lost", extra={"election": self.name, "why": why})
        lost.set()

    async def _renewing(self) -> str:
        """Return why it is lost."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        ends = self.ttl * (1 - _MARGIN)
        while True:
            await asyncio.sleep(min(self.ttl / _LOOKS, max(renewed + ends - loop.time(), 0)))
            began = loop.time()
            try:
                async with asyncio.timeout_at(renewed + ends):
                    while not await self._write(self._spec()):
                        # A lost answer, or a label that somebody set, look like this too. Only
                        # what is written now tells others of now.
                        if not await self._is_ours():
                            return "somebody else has it"
                renewed = began
            except (Unavailable, OutcomeUnknown, TimeoutError) as error:
                if loop.time() >= renewed + ends:
                    return str(error) or "the API did not answer"
            except MirenError as error:
                return str(error)

    async def _is_ours(self) -> bool:
        """Look who has it, and at which version."""
        lease = await self.writer.fetch(_item(self.project, self.name), about=f"lease/{self.name}")
        self.version = lease["metadata"]["resourceVersion"]
        return bool((lease.get("spec") or {}).get("holderIdentity") == self.identity)

    async def give_up(self) -> None:
        """Let the next one lead at once. Failing that, it waits until the lease has ended."""
        try:
            async with asyncio.timeout(self.ttl):
                await self._write({"holderIdentity": "", "leaseDurationSeconds": 1})
        except (MirenError, TimeoutError) as error:
            log.info("not given up", extra={"election": self.name, "why": str(error)})

    async def _write(self, spec: Document) -> bool:
        """Change the lease if nobody else did; return whether it was."""
        patch = {"metadata": {"resourceVersion": self.version}, "spec": spec}
        target = _item(self.project, self.name)
        try:
            stored = await self.writer.merge(target, patch, about=f"lease/{self.name}")
        except (Conflict, NotFound):
            return False
        self.version = stored["metadata"]["resourceVersion"]
        return True

    def _spec(self) -> dict[str, Any]:
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, math.ceil(self.ttl)),
            "renewTime": _now(),
        }


def _leases(project: str) -> str:
    return f"{_API}/namespaces/{quote(project, safe='')}/leases"


def _item(project: str, name: str) -> str:
    return f"{_leases(project)}/{quote(name, safe='')}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

"""Requests that no client of ours sends are refused, and told as the caller's fault."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from miren.base.errors import InvalidInput, NotFound, OutcomeUnknown, Unavailable
from miren.clients.remote import RemoteClient, link
from miren.entities import keys
from tests.builders import KINDS, Greeting, make_greeting
from tests.clients.remote.serving import Front
from tests.entities.beacons import Beacon

ENTITIES = "miren.entities.v1.Entities"
COORDINATION = "miren.coordination.v1"
EVENT = {
    "type": "Normal",
    "reason": "Told",
    "message": "so it is",
    "source": "test",
    "first": "2026-01-01T12:00:00+00:00",
    "last": "2026-01-01T12:00:00+00:00",
    "count": 1,
}
CHANGE = {"kind": "beacon", "name": "b1", "holder": "n1", "ttl": 60, "lease": "1", "set": {}}
CHANGES: tuple[dict[str, Any], ...] = (
    {"set": []},
    {"set": {"height": 1}},
    {"set": {"phase": None}},
    {"clear": "phase"},
    {"clear": ["height"]},
    {"ttl": "x"},
    {"name": 1},
)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (f"{ENTITIES}/Get", {"kind": "greeting", "name": "hi", "fences": "x"}),
        (f"{ENTITIES}/Get", {"kind": "greeting", "name": "hi", "fences": ["x"]}),
        (f"{ENTITIES}/Get", {"kind": "greeting", "name": "hi", "fences": [{"key": "x"}]}),
        (f"{ENTITIES}/Get", {"kind": "greeting", "name": "hi", "fences": [{}] * 9}),
        (f"{ENTITIES}/EventRings", {"kind": "greeting"}),
        (f"{ENTITIES}/Dependents", {}),
        *[
            (f"{COORDINATION}.Leases/KeepAlive", {"lease": lease})
            for lease in (1, "", "-1", "xyz", "f" * 16, "f" * 17)
        ],
        *[(f"{COORDINATION}.Leases/Grant", {"ttl": ttl}) for ttl in (0, -1, "x", 1e12)],
        (f"{COORDINATION}.Elections/Stand", {"name": "shop", "lease": "1"}),
        (f"{COORDINATION}.Elections/Begin", {"name": "shop", "holder": "n1", "lease": "1"}),
        *[(f"{COORDINATION}.Sessions/Change", {**CHANGE, **change}) for change in CHANGES],
    ],
)
async def test_wrong_requests_are_refused(
    client: RemoteClient, method: str, request_: dict[str, Any]
) -> None:
    await client.create(Beacon.new("b1"))
    with pytest.raises(InvalidInput):
        await client._link.write(method, request_)


@pytest.mark.parametrize(
    "event",
    [
        "x",
        {},
        {**EVENT, "count": "x"},
        {**EVENT, "count": 0},
        {**EVENT, "reason": 1},
        {**EVENT, "type": "Odd"},
        {**EVENT, "first": "2026-01-01T12:00:00"},
        {**EVENT, "last": 7},
        {**EVENT, "last": "0001-01-01T00:00:00+10:00"},
        {**EVENT, "count": True},
        {**EVENT, "count": 2**63},
        {**EVENT, "reason": "r" * 2000},
        {**EVENT, "source": "s" * 2_000_000},
    ],
)
async def test_wrong_events_are_refused(client: RemoteClient, event: object) -> None:
    made = await client.create(make_greeting())
    request = {"entity": made.to_document(), "events": [EVENT, event]}
    with pytest.raises(InvalidInput):
        await client._link.write(f"{ENTITIES}/RecordEvents", request)
    assert await client.list_events() == []


async def test_an_election_writes_no_key_but_its_own(client: RemoteClient, front: Front) -> None:
    made = await client.create(make_greeting())
    lease = (await client._link.write(f"{COORDINATION}.Leases/Grant", {"ttl": 60}))["lease"]
    about = {"name": "shop", "holder": "n1", "lease": lease}
    stood = await client._link.write(f"{COORDINATION}.Elections/Stand", about)
    theirs = keys.entity_key(Greeting.kind, "default", "hi")
    stored = await front.client.store.get(theirs)
    assert stored is not None
    for wrong in (
        {**about, "key": theirs, "revision": str(stored.create_revision)},
        {**about, **stood, "name": "other"},
        {**about, **stood, "lease": "7"},
    ):
        with pytest.raises(InvalidInput, match="key must be"):
            await client._link.write(f"{COORDINATION}.Elections/Begin", wrong)
    assert await client.get(Greeting, "hi") == made
    begun = await client._link.write(f"{COORDINATION}.Elections/Begin", {**about, **stood})
    assert begun["since"]


async def test_what_is_too_large_is_sent_and_refused(client: RemoteClient) -> None:
    with pytest.raises(InvalidInput, match="can be stored"):
        await client.create(make_greeting(text="x" * 3_000_000))


async def test_a_storm_of_calls_fails_none_of_them(client: RemoteClient) -> None:
    made = await asyncio.gather(*(client.create(make_greeting(f"g{n}")) for n in range(300)))
    assert len({each.uid for each in made}) == 300
    start = min(each.revision for each in made)

    async def follow() -> None:
        async with client.watch(Greeting, after=start) as events:
            await anext(events)

    await asyncio.gather(*(follow() for _ in range(200)))


async def test_waiting_for_other_calls_is_part_of_a_call_s_time(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_AT_ONCE", 1)
    asked = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # and again until it leaves
        writer.close()

    async with (
        await asyncio.start_unix_server(ignore, socket),
        RemoteClient(f"unix://{socket}", kinds=KINDS, timeout=0.3) as client,
    ):
        first = asyncio.create_task(client.create(make_greeting()))
        await asked.wait()
        with pytest.raises(Unavailable, match="before this one"):  # surely not done
            await client.create(make_greeting())
        first.cancel()
        await asyncio.wait([first])


async def test_what_is_no_server_is_told_so(socket: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n"
        writer.write(head + b"hello\n")
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_unix_server(answer, socket),
        RemoteClient(f"unix://{socket}", kinds=KINDS, patience=0) as client,
    ):
        with pytest.raises(Unavailable, match="no server"):
            await client.get(Greeting, "hi")
        with pytest.raises(OutcomeUnknown, match="no server"):
            await client.create(make_greeting())
        with pytest.raises(Unavailable, match="no server"):
            async with client.watch(Greeting, after=1) as events:
                await anext(events)


async def test_a_lease_that_never_was_is_not_found(client: RemoteClient) -> None:
    for method in ("KeepAlive", "Revoke", "Get"):
        with pytest.raises(NotFound):
            await client._link.write(f"{COORDINATION}.Leases/{method}", {"lease": "123"})

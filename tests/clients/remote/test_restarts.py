"""Servers come and go; what follows one goes on, and only another store is another beginning."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from miren.base.errors import (
    NotFound,
    OutcomeUnknown,
    StoreReset,
    Unavailable,
)
from miren.clients.remote import RemoteClient
from miren.entities.client import Added, Modified, Selection
from miren.entities.store.memory import MemoryStore
from miren.reconcile.informer import Informer
from tests.builders import KINDS, Greeting, GreetingSpec, make_greeting
from tests.clients.remote.serving import serving
from tests.entities.beacons import Beacon, Buoy
from tests.entities.electing import eventually
from tests.entities.watching import watching

KNOWN = (*KINDS, Beacon, Buoy)


class Dying:
    """Listens, reads a request, and hangs up or says nothing."""

    def __init__(self, *, hangs_up: bool) -> None:
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self._hangs_up = hangs_up

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        if not self._hangs_up:
            while await reader.read(1000):
                pass
            self.left.set()
        writer.close()


async def between(socket: Path) -> None:
    """Let whoever follows a server find none, and one that breaks."""
    dying = Dying(hangs_up=True)
    async with asyncio.timeout(10), await asyncio.start_unix_server(dying.answer, socket):
        await dying.asked.wait()
    socket.unlink(missing_ok=True)


async def test_a_watch_goes_on_where_it_was_when_the_server_comes_back(socket: Path) -> None:
    async with MemoryStore() as store, RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        async with serving(store, socket):
            first = await client.create(make_greeting("a"))
            context = watching(client, Greeting, after=first.revision)
            changes = await context.__aenter__()
            second = await client.update(first.with_spec(GreetingSpec(text="yo")))
            assert await changes.next() == Modified(second, first, second.revision)
        coming = asyncio.create_task(changes.next())
        await between(socket)
        async with serving(store, socket) as front:
            third = await front.client.create(make_greeting("b"))
            assert await coming == Added(third, third.revision)
            await context.__aexit__(None, None, None)


async def test_what_one_revision_changed_is_told_once_wherever_the_connection_breaks(
    socket: Path,
) -> None:
    names = [f"b{number}" for number in range(5)]
    # The first message names the store; and what has been told comes again, and is passed over.
    cuts = (2, 3, 3, 3, 4, 5, 6)
    async with (
        MemoryStore() as store,
        RemoteClient(f"unix://{socket}", kinds=KNOWN) as client,
        serving(store, socket, kinds=KNOWN, cuts=cuts) as front,
    ):
        for name in names:
            await client.create(Beacon.new(name))
        async with front.client.session(holder="n1") as session:
            for name in names:
                await session.set(Beacon, name, phase="ready")
            start = await client.revision()
        # The session has ended: all of them have changed, in one revision.
        last = await client.create(Beacon.new("last"))
        async with watching(client, Beacon, after=start) as changes:
            told = [await changes.next() for _ in range(len(names) + 1)]
    assert [event.entity.name for event in told] == [*names, "last"]
    assert {event.revision for event in told[:-1]} == {start + 1}
    assert told[-1] == Added(last, last.revision)


async def test_caches_are_not_filled_anew_for_a_restart_but_for_another_store(
    socket: Path,
) -> None:
    async with RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        informer = Informer(client, Greeting, rng=random.Random(1))
        following = asyncio.create_task(informer.run())

        async def knows(*names: str) -> bool:
            return sorted(key.name for key in informer.entities()) == sorted(names)

        async with MemoryStore() as store:
            async with serving(store, socket):
                await client.create(make_greeting("a"))
                await eventually(lambda: knows("a"))
            await between(socket)
            async with serving(store, socket):
                await client.create(make_greeting("b"))
                await eventually(lambda: knows("a", "b"))
            assert informer.relists == 0
        async with MemoryStore() as other, serving(other, socket) as front:
            for name in ("x", "y", "z", "b"):
                await front.client.create(make_greeting(name))
            await eventually(lambda: knows("b", "x", "y", "z"))
            assert informer.relists == 1
        following.cancel()
        await asyncio.wait([following])


async def test_what_was_read_from_one_store_is_not_written_to_another(socket: Path) -> None:
    async with RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        async with MemoryStore() as store, serving(store, socket):
            made = await client.create(make_greeting())
            watch = client.watch(Greeting, after=made.revision)
        async with MemoryStore() as other, serving(other, socket) as front:
            await front.client.create(make_greeting(text="theirs"))
            with pytest.raises(StoreReset):
                await client.update(made.with_spec(GreetingSpec(text="mine")))
            found = await client.get(Greeting, "hi")
            assert found.spec.text == "theirs"
            assert (await client.update(found.with_spec(GreetingSpec(text="yo")))).uid == found.uid
            async with watch as events:
                with pytest.raises(StoreReset):
                    await anext(events)


async def test_a_server_that_stays_away_is_told(socket: Path) -> None:
    address = f"unix://{socket}"
    async with RemoteClient(address, kinds=KINDS, patience=0.1) as client:
        for call in (client.revision(), client.create(make_greeting()), client.list(Greeting)):
            with pytest.raises(Unavailable, match="no server at"):
                await call
        async with client.watch(Greeting, after=0) as events:
            with pytest.raises(Unavailable):
                await anext(events)
        async with MemoryStore() as store, serving(store, socket):
            assert (await client.list(Greeting)).items == ()


async def test_a_write_without_an_answer_is_unknown_and_a_read_did_nothing(socket: Path) -> None:
    server = await asyncio.start_unix_server(Dying(hangs_up=True).answer, socket)
    async with server, RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        for write in (
            client.create(make_greeting()),
            client.delete(Greeting, "hi"),
            client.patch(Greeting, "hi", {"spec": {"text": "yo"}}),
            client.apply(Greeting.partial("hi", text="yo"), manager="ci"),
        ):
            with pytest.raises(OutcomeUnknown):
                await write
        for read in (client.get(Greeting, "hi"), client.list(Greeting), client.revision()):
            with pytest.raises(Unavailable):
                await read


async def test_cancelling_a_call_hangs_up(socket: Path) -> None:
    silent = Dying(hangs_up=False)
    server = await asyncio.start_unix_server(silent.answer, socket)
    async with server, RemoteClient(f"unix://{socket}", kinds=KINDS) as client:
        call = asyncio.create_task(client.get(Greeting, "hi"))
        await silent.asked.wait()
        call.cancel()
        await asyncio.wait([call])
        async with asyncio.timeout(10):
            await silent.left.wait()


async def test_a_call_has_a_deadline(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miren.clients.remote.link._SLACK", 0.0)
    server = await asyncio.start_unix_server(Dying(hangs_up=False).answer, socket)
    async with server, RemoteClient(f"unix://{socket}", kinds=KINDS, timeout=0.1) as client:
        with pytest.raises(Unavailable, match="in time"):
            await client.get(Greeting, "hi")
        with pytest.raises(OutcomeUnknown, match="in time"):
            await client.create(make_greeting())


async def test_leaving_a_watch_ends_it_in_the_server(socket: Path) -> None:
    async with (
        MemoryStore() as store,
        RemoteClient(f"unix://{socket}", kinds=KINDS) as client,
        serving(store, socket),
    ):
        before = len(asyncio.all_tasks())
        async with client.watch(Greeting, Selection(), after=0) as events:
            await anext(events)
            assert len(asyncio.all_tasks()) > before

        async def has_ended() -> bool:
            # Its connection is not kept: what is read of it would come in the way.
            return len(asyncio.all_tasks()) <= before

        await eventually(has_ended)


async def test_a_kind_that_the_server_does_not_know_is_no_missing_entity(socket: Path) -> None:
    async with (
        MemoryStore() as store,
        serving(store, socket),
        RemoteClient(f"unix://{socket}", kinds=KNOWN) as client,
    ):
        with pytest.raises(NotFound, match="no kind"):
            await client.get(Beacon, "b1", default=None)

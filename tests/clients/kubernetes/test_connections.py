"""Servers that answer too much, too little, or something else; requests that wait for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from miren.base.errors import InvalidInput, MirenError, OutcomeUnknown, Refused, Unavailable
from miren.base.interrupting import until
from miren.clients.kubernetes import Credentials, KubernetesClient, connections, watching
from miren.clients.kubernetes.connections import Pool
from miren.clients.kubernetes.transport import Transport
from miren.entities.client import Bookmark
from tests.builders import Greeting, make_greeting
from tests.clients.kubernetes.eventually import eventually
from tests.kubernetes_api import KubernetesAPI

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
Answering = Callable[[bytes], Awaitable[bytes]]


class Server:
    """Answers each head of a request with what `answer` returns; bodies must be empty."""

    def __init__(self, answer: Answering) -> None:
        self.url = ""
        self.open = 0
        self._answer = answer
        self._over = asyncio.Event()

    def end(self) -> None:
        self._over.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            async with until(self._over):
                while True:
                    writer.write(await self._answer(await reader.readuntil(b"\r\n\r\n")))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it left
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def answering(answer: Answering) -> AsyncIterator[Server]:
    found = Server(answer)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        found.end()
        server.close()


async def never(_head: bytes) -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


async def nonsense(_head: bytes) -> bytes:
    return OK % (9, b"<p>log in")


async def test_what_comes_after_an_answer_is_not_the_next_one() -> None:
    async def twice(head: bytes) -> bytes:
        own = head.split()[1]
        return OK % (len(own), own) + OK % (6, b"forged")

    async with answering(twice) as server:
        pool = Pool(server.url, None)
        for target in ("/a", "/b", "/c"):
            answer = await pool.request("GET", target, b"", b"", timeout=5)
            assert answer.body == target.encode()
        pool.close()


async def test_a_turn_that_nobody_takes_goes_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_OPEN", 1)
    gate = asyncio.Event()

    async def slowly(_head: bytes) -> bytes:
        await gate.wait()
        return OK % (2, b"{}")

    async with answering(slowly) as server:
        pool = Pool(server.url, None)

        async def get() -> None:
            await pool.request("GET", "/", b"", b"", timeout=5)

        async def first() -> None:
            await get()
            second.cancel()  # whose turn has just come

        begun = asyncio.create_task(first())
        await eventually(lambda: server.open)
        second, third = asyncio.create_task(get()), asyncio.create_task(get())
        await eventually(lambda: len(pool._waiting) == 2)
        gate.set()
        await asyncio.wait([begun, second, third], timeout=3)
        assert second.cancelled()
        assert third.done()
        assert third.exception() is None
        pool.close()


async def test_waiting_for_a_connection_is_part_of_the_time_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_OPEN", 1)
    async with answering(never) as server:
        pool = Pool(server.url, None)
        before = asyncio.create_task(pool.request("POST", "/", b"", b"", timeout=30))
        await eventually(lambda: server.open)
        with pytest.raises(Unavailable, match="no time"):  # and it is sure not to be done
            async with asyncio.timeout(5):
                await pool.request("POST", "/", b"", b"", timeout=0.05)
        before.cancel()
        await asyncio.wait([before])


async def test_what_was_at_work_at_the_end_leaves_nothing_open() -> None:
    gate = asyncio.Event()

    async def slowly(_head: bytes) -> bytes:
        await gate.wait()
        return OK % (2, b"{}")

    async with answering(slowly) as server:
        transport = Transport(Credentials(server.url))
        for _ in range(2):  # it can be opened again
            gate.clear()
            async with transport:
                asking = asyncio.create_task(transport.request("GET", "/"))
                await eventually(lambda: server.open)
            gate.set()
            assert (await asking).code == 200
            await eventually(lambda: not server.open)


async def test_a_watch_that_never_begins_is_given_up() -> None:
    async with answering(never) as server:
        credentials = Credentials(server.url)
        async with Transport(credentials, timeout=0.05) as transport, asyncio.timeout(5):
            with pytest.raises(Unavailable, match="no answer"):
                await _begin(transport)


async def test_a_watch_that_is_left_leaves_no_connection(
    client: KubernetesClient, api: KubernetesAPI
) -> None:
    start = (await client.list(Greeting)).revision
    async with client.watch(Greeting, after=start) as events:
        await client.create(make_greeting())
        await anext(events)
        assert len(api._feeds) == 1
    assert client._transport._session is not None
    connector = client._transport._session.connector
    assert connector is not None
    assert not connector._acquired, "it is closed when the watch is, not some time after"


async def test_an_answer_that_is_no_object_is_told_in_our_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_TRIES", 0)
    async with answering(nonsense) as server, KubernetesClient(server.url) as client:
        with pytest.raises(Unavailable, match="not with an object"):
            await client.get(Greeting, "hi")
        with pytest.raises(OutcomeUnknown, match="not with an object"):
            await client._writer.send("POST", "/", {}, about="it")

    async def line(_head: bytes) -> bytes:
        return OK % (10, b"[1, 2, 3]\n")

    async with answering(line) as server, KubernetesClient(server.url) as client:
        with pytest.raises(Unavailable, match="no change of an object"):
            async with client.watch(Greeting, after=1) as events:
                await anext(events)


async def test_an_api_that_ends_every_watch_at_once_is_not_asked_without_a_pause() -> None:
    asked = 0

    async def briefly(_head: bytes) -> bytes:
        nonlocal asked
        asked += 1
        line = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}\n'
        return OK % (len(line), line)

    clock = asyncio.get_running_loop().time
    async with answering(briefly) as server, KubernetesClient(server.url) as client:
        begun = clock()
        async with client.watch(Greeting, after=1) as events:
            for _ in range(5):
                assert await anext(events) == Bookmark(7)
        assert asked == 5
        assert clock() - begun > 0.1


async def test_a_proxy_that_lost_the_answer_leaves_a_write_unknown() -> None:
    async def lost(_head: bytes) -> bytes:
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nreset"

    async with answering(lost) as server, KubernetesClient(server.url) as client:
        with pytest.raises(Unavailable, match="reset"):
            await client.get(Greeting, "hi")
        with pytest.raises(OutcomeUnknown, match="reset"):
            await client._writer.send("POST", "/", {}, about="it")


async def _begin(transport: Transport) -> None:
    async with transport.stream("/", about="it", idle=1):
        pass


@pytest.mark.parametrize("own", [True, False])
async def test_a_token_cannot_be_more_than_a_token(own: bool) -> None:
    asked: list[bytes] = []

    async def note(head: bytes) -> bytes:
        asked.append(head)
        return OK % (2, b"{}")

    async with answering(note) as server:
        told = "secret\r\nX-Remote-User: root"
        async with Transport(Credentials(server.url, token=lambda: told)) as transport:
            asking = transport.request("GET", "/") if own else _begin(transport)
            with pytest.raises(Refused) as raised:
                await asking
            assert "secret" not in f"{raised.value!r} {raised.value.hint}"
        assert not asked
        async with Transport(Credentials(server.url, token=lambda: "t\n")) as transport:
            await transport.request("GET", "/")
        assert b"Authorization: Bearer t\r\n" in asked[0]


async def test_names_cannot_be_more_than_names() -> None:
    asked: list[bytes] = []

    async def note(head: bytes) -> bytes:
        asked.append(head)
        return OK % (13, b'{"items": []}')

    async with (
        answering(note) as server,
        KubernetesClient(server.url, project="a/b") as client,
    ):
        assert await client.leader("x HTTP/1.1\r\nX: y") is None
        assert await client.list_events("../../secrets?x=") == []
    assert [head.split(b"\r\n")[0] for head in asked] == [
        b"GET /apis/coordination.k8s.io/v1/namespaces/a%2Fb/leases/"
        b"x%20HTTP%2F1.1%0D%0AX%3A%20y HTTP/1.1",
        b"GET /api/v1/namespaces/..%2F..%2Fsecrets%3Fx%3D/events HTTP/1.1",
    ]


def test_an_address_with_a_password_is_refused_and_not_told() -> None:
    with pytest.raises(InvalidInput) as raised:
        KubernetesClient("https://me:secret@example.dev")
    assert "secret" not in str(raised.value)
    error: MirenError = raised.value
    assert error.hint

"""The server's own rules: heartbeats, stopping, broken handlers, a socket that is taken."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from miren.base.errors import InvalidInput, OutcomeUnknown, Refused, Unavailable
from miren.entities.gen import KINDS, Project
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store_client import StoreClient
from miren.rpc.calls import Calls
from miren.rpc.feeding import Feed
from miren.rpc.server import Call, Method, RpcServer, Stream, Unary
from miren.server.services.entities import EntityService

Message = Mapping[str, Any]


@pytest.fixture
def path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mv"))
    yield folder / "s"
    shutil.rmtree(folder)


async def raw(path: Path, method: str, message: Message) -> list[Any]:
    """Return the status of a call and its lines."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    body = orjson.dumps(message)
    head = f"POST /{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    lines = [orjson.loads(line) for line in answer.splitlines() if line.startswith(b"{")]
    return [int(answer.split()[1]), *lines]


async def echo(_call: Call, request: Message) -> Message:
    return {"got": request}


async def test_a_path_too_long_for_a_socket_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at most 107") as caught:
        RpcServer(tmp_path / ("x" * 108), {})
    assert "run_dir" in str(caught.value.hint)


async def test_a_socket_that_another_server_uses_is_left_alone(path: Path) -> None:
    async with RpcServer(path, {"a.A/Echo": Unary(echo)}):
        with pytest.raises(Refused, match="another server"):
            await RpcServer(path, {}).__aenter__()
        assert (await raw(path, "a.A/Echo", {}))[0] == 200
    assert not path.exists()


async def test_a_socket_that_a_dead_server_left_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with RpcServer(path, {"a.A/Echo": Unary(echo)}):
        assert await raw(path, "a.A/Echo", {"a": 1}) == [200, {"got": {"a": 1}}]


async def test_a_broken_handler_tells_the_log_and_not_the_client(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_call: Call, _request: Message) -> Message:
        raise RuntimeError("secret")

    async def breaking(_call: Call, _request: Message) -> AsyncIterator[Message]:
        yield {"n": 1}
        raise RuntimeError("secret")

    methods: dict[str, Method] = {"a.A/B": Unary(broken), "a.A/S": Stream(breaking)}
    async with RpcServer(path, methods):
        status, error = await raw(path, "a.A/B", {})
        assert (status, error["code"]) == (500, "internal")
        status, first, last = await raw(path, "a.A/S", {})
        assert (status, first, last["error"]["code"]) == (200, {"n": 1}, "internal")
    assert "secret" not in str((error, last))
    assert caplog.text.count("RuntimeError: secret") == 2


async def test_a_silent_stream_has_heartbeats(path: Path) -> None:
    spoken = asyncio.Event()

    async def slow(_call: Call, _request: Message) -> AsyncIterator[Message]:
        yield {"n": 1}
        await spoken.wait()
        yield {"n": 2}

    async with RpcServer(path, {"a.A/S": Stream(slow)}, heartbeat=0.02):
        stream = iter(Calls(f"unix://{path}").stream("a.A/S", {}))
        assert await asyncio.to_thread(next, stream) == {"n": 1}
        asyncio.get_running_loop().call_later(0.1, spoken.set)
        assert await asyncio.to_thread(next, stream) == {"n": 2}
        spoken.clear()
        lines = asyncio.ensure_future(raw(path, "a.A/S", {}))
        asyncio.get_running_loop().call_later(0.1, spoken.set)
        assert (await lines).count({}) >= 2


async def test_closing_a_feed_closes_its_source_wherever_it_is() -> None:
    closed: list[str] = []

    async def source() -> AsyncIterator[Message]:
        try:
            yield {"n": 1}
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    feed = Feed(source(), asyncio.Event(), timeout=0.01)
    assert await feed.next() == {"n": 1}
    with pytest.raises(Exception, match="no more time"):
        await feed.next()
    await feed.aclose()
    assert closed == ["closed"]


async def test_stopping_ends_streams_and_lets_calls_finish(path: Path) -> None:
    begun, ending = asyncio.Event(), asyncio.Event()

    async def slow(_call: Call, _request: Message) -> Message:
        begun.set()
        await ending.wait()
        return {"done": True}

    async def endless(_call: Call, _request: Message) -> AsyncIterator[Message]:
        yield {"n": 1}
        await asyncio.Event().wait()

    server = RpcServer(path, {"a.A/U": Unary(slow), "a.A/S": Stream(endless)}, grace=5)
    async with server:
        call = asyncio.ensure_future(raw(path, "a.A/U", {}))
        stream = iter(Calls(f"unix://{path}").stream("a.A/S", {}))
        assert await asyncio.to_thread(next, stream) == {"n": 1}
        await asyncio.wait_for(begun.wait(), 5)
        asyncio.get_running_loop().call_later(0.1, ending.set)
    assert await call == [200, {"done": True}]
    assert await asyncio.to_thread(lambda: list(stream)) == []


async def test_a_call_that_outlives_the_grace_is_told_that_nobody_knows(path: Path) -> None:
    begun = asyncio.Event()

    async def stuck(_call: Call, _request: Message) -> Message:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async with RpcServer(path, {"a.A/U": Unary(stuck)}, grace=0.1):
        calls = Calls(f"unix://{path}")
        call = asyncio.ensure_future(asyncio.to_thread(calls.call, "a.A/U", {}))
        await asyncio.wait_for(begun.wait(), 5)
    with pytest.raises(OutcomeUnknown, match="stopped before"):
        await call
    with pytest.raises(Unavailable):
        await asyncio.to_thread(calls.call, "a.A/U", {})


async def test_a_watch_from_a_compacted_revision_says_to_list_again(path: Path) -> None:
    async with MemoryStore() as store:
        kinds = Kinds(KINDS)
        client = StoreClient(store=store, kinds=kinds)
        for name in ("a", "b", "c"):
            await client.create(Project.new(name))
        await store.compact(await client.revision())
        service = EntityService(client, kinds, owner=os.geteuid())
        async with RpcServer(path, service.methods()):
            request = {"kind": "project", "after": "1"}
            status, error = await raw(path, "miren.entities.v1.Entities/Watch", request)
    assert (status, error["code"]) == (400, "out_of_range")
    assert error["details"][0]["oldest"] >= 1
    assert "list again" in error["details"][0]["hint"]


@pytest.mark.parametrize("method", ["a.A/U", "a.A/S"])
async def test_a_client_that_leaves_ends_its_handler(path: Path, method: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def unary(_call: Call, _request: Message) -> Message:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async def stream(call: Call, request: Message) -> AsyncIterator[Message]:
        yield await unary(call, request)

    async with RpcServer(path, {"a.A/U": Unary(unary), "a.A/S": Stream(stream)}):
        _reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(f"POST /{method} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        await asyncio.wait_for(begun.wait(), 5)
        assert not ended.is_set()
        writer.close()
        await writer.wait_closed()
        # Nothing is sent to it meanwhile: the server has to notice by itself.
        await asyncio.wait_for(ended.wait(), 5)


async def test_many_may_connect_at_once_while_the_server_is_busy(path: Path) -> None:
    async with RpcServer(path, {}):
        callers = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(300)]
        try:
            for caller in callers:
                caller.setblocking(False)
                caller.connect(
                    str(path)
                )  # BlockingIOError: it is not connected, and never will be
        finally:
            for caller in callers:
                caller.close()

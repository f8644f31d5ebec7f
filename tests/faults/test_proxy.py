"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.faults.proxy import Direction, Proxy, running_proxy

BIG = bytes(range(256)) * 8192  # 2 MiB


@dataclass
class Line:
    """A client's end of a connection to a server that answers with what it hears."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes, *, expected: int | None = None) -> bytes:
        self.writer.write(data)
        return await self.hear(len(data) if expected is None else expected)

    async def hear(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.read()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
        writer.close()
    except OSError:
        writer.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what the proxy carried wakes nobody
            await asyncio.sleep(0)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with running_proxy(("127.0.0.1", server.sockets[0].getsockname()[1])) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Line]:
    line = Line(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield line
    finally:
        line.writer.transport.abort()


async def test_bytes_and_ends_of_streams_go_through_unchanged(proxy: Proxy) -> None:
    async with connected(proxy) as line:
        assert await line.ask(BIG) == BIG
        line.writer.write_eof()
        assert await line.rest() == b"bye"
    assert proxy.carried == {Direction.UP: len(BIG), Direction.DOWN: len(BIG) + 3}
    await until(lambda: not proxy.connections)


async def test_a_cut_lets_exactly_so_much_through_and_resets(proxy: Proxy) -> None:
    async with connected(proxy) as line, connected(proxy) as other:
        await other.ask(b"x")
        proxy.cut_after(100_000)
        assert await line.ask(BIG, expected=100_000) == BIG[:100_000]
        for each in (line, other):
            with pytest.raises(ConnectionResetError):
                await each.rest()
        await proxy.until_cut()
    async with connected(proxy) as line:
        assert await line.ask(BIG) == BIG


async def test_delay_makes_the_way_long_and_not_narrow(proxy: Proxy) -> None:
    proxy.delay = 0.1
    async with connected(proxy) as line:
        started = time.monotonic()
        for n in range(20):
            line.writer.write(bytes([n]))
            await line.writer.drain()
            await asyncio.sleep(0.001)
        assert await line.hear(20) == bytes(range(20))
        assert 0.2 <= time.monotonic() - started < 1.0


@pytest.mark.parametrize("direction", list(Direction))
async def test_what_falls_into_a_black_hole_is_gone_and_the_connection_reset_when_it_heals(
    proxy: Proxy, direction: Direction
) -> None:
    async with connected(proxy) as line, connected(proxy) as idle:
        assert await line.ask(b"before") == b"before"
        await idle.ask(b"x")
        carried = proxy.carried[direction]
        proxy.blackhole(direction)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await line.ask(b"lost")
        line.writer.write_eof()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await line.rest()
        assert proxy.carried[direction] == carried
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            await line.rest()
        assert await idle.ask(b"unhurt") == b"unhurt"


async def test_a_half_closed_connection_still_carries_the_other_way(proxy: Proxy) -> None:
    async with connected(proxy) as line:
        await line.ask(b"x")
        proxy.half_close(Direction.DOWN)
        assert await line.rest() == b""
        carried = proxy.carried[Direction.UP]
        line.writer.write(b"still heard")
        await until(lambda: proxy.carried[Direction.UP] > carried)
    async with connected(proxy) as line:
        await line.ask(b"x")
        proxy.half_close(Direction.UP)
        assert await line.rest() == b"bye"


async def test_refused_connections_and_those_to_nobody_are_reset(proxy: Proxy) -> None:
    proxy.refusing = True
    async with connected(proxy) as line:
        with pytest.raises(ConnectionResetError):
            await line.rest()
    proxy.heal()
    async with connected(proxy) as line:
        assert await line.ask(b"x") == b"x"
    proxy.target = ("127.0.0.1", 1)
    async with connected(proxy) as line:
        with pytest.raises(ConnectionResetError):
            await line.rest()

"""A proxy on the loopback, or on a unix socket, that does to connections what networks do to them.

It knows nothing of what it carries. Faults are set while it runs: `cut_after` resets connections
in the middle of an answer, `delay` makes the way long, `blackhole` lets bytes vanish while the
connections stay, `half_close` ends one direction, `refusing` turns new connections away. `heal`
takes every fault back. What vanished stays lost, so connections that fell into a black hole are
reset then, as TCP would do in the end.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

__all__ = ["Direction", "Proxy", "running_proxy"]

Target = Path | tuple[str, int]

_CHUNK = 64 * 1024


class Direction(Enum):
    """Which way bytes go, seen from the client."""

    UP = "to the server"
    DOWN = "to the client"


class Proxy:
    """Carries connections from its `port` to `target`: a unix socket, or a host and a port."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self.carried = dict.fromkeys(Direction, 0)
        self.delay = 0.0  # seconds each way
        self.refusing = False
        self.blackholes: frozenset[Direction] = frozenset()
        self._until_cut: int | None = None
        self._was_cut = asyncio.Event()
        self._connections: dict[_Connection, asyncio.Task[None]] = {}

    @property
    def url(self) -> str:
        """Return where it listens, as an address of etcd."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Return how many connections it carries now."""
        return len(self._connections)

    def cut_after(self, size: int) -> None:
        """Reset every connection once `size` more bytes went to clients; then go on as before."""
        self._until_cut = size
        self._was_cut.clear()

    async def until_cut(self, within: float = 20.0) -> None:
        """Wait until the cut that was asked for has happened."""
        async with asyncio.timeout(within):
            await self._was_cut.wait()

    def cut(self) -> None:
        """Reset every connection now."""
        self._until_cut = None
        self._was_cut.set()
        for connection in self._connections:
            connection.reset()

    def blackhole(self, *directions: Direction) -> None:
        """Let what goes in these directions vanish, in both if none is named."""
        self.blackholes = frozenset(directions or Direction)

    def half_close(self, direction: Direction) -> None:
        """End the stream in this direction on every connection there is; the other one stays."""
        for connection in self._connections:
            connection.end(direction)

    def heal(self) -> None:
        """Take every fault back, and reset the connections that lost something."""
        self.delay, self.refusing, self._until_cut = 0.0, False, None
        self.blackholes = frozenset()
        for connection in self._connections:
            if connection.lost:
                connection.reset()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both sides have ended it."""
        client = _End(reader, writer)
        self.accepted += 1
        try:
            server = None if self.refusing else await self._connect()
        except OSError:
            server = None
        if server is None:
            client.reset()
            return
        connection = _Connection(self, client, server)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.run()
        finally:
            del self._connections[connection]

    def admit(self, direction: Direction, data: bytes) -> bytes:
        """Return how much of `data` still gets through before a cut, and count it."""
        if direction is Direction.DOWN and self._until_cut is not None:
            data = data[: self._until_cut]
            self._until_cut -= len(data)
        self.carried[direction] += len(data)
        return data

    @property
    def is_due_to_cut(self) -> bool:
        return self._until_cut == 0

    async def close(self) -> None:
        """Reset what it carries, and wait until all of it is gone."""
        tasks = list(self._connections.values())
        for connection in self._connections:
            connection.reset()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    async def _connect(self) -> _End:
        if isinstance(self.target, Path):
            return _End(*await asyncio.open_unix_connection(self.target))
        return _End(*await asyncio.open_connection(*self.target))


@asynccontextmanager
async def running_proxy(target: Target, *, at: Path | None = None) -> AsyncIterator[Proxy]:
    """Run a proxy in front of `target`; all it carries is reset at the end.

    It listens on the unix socket `at`, if one is given, and then has no port.
    """
    proxy = Proxy(target)
    if at is None:
        server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
    else:
        server = await asyncio.start_unix_server(proxy.accept, at)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


@dataclass(frozen=True, slots=True, eq=False)
class _End:
    """One side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """Close it with RST, and drop what was not sent yet."""
        stream = self.writer.get_extra_info("socket")
        if stream is not None and stream.fileno() >= 0:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class _Connection:
    """A client, its server, and the bytes between them."""

    def __init__(self, proxy: Proxy, client: _End, server: _End) -> None:
        self._proxy = proxy
        self._ends = {Direction.UP: (client, server), Direction.DOWN: (server, client)}
        self._ended: set[Direction] = set()
        self._gone = asyncio.Event()
        self.lost = False

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for direction in Direction:
                    group.create_task(self._carry(direction))
        except* OSError:
            pass  # one side went away, and the other is told below
        else:
            for end, _ in self._ends.values():
                end.writer.close()
            return
        self.reset()

    def reset(self) -> None:
        """End both sides with RST."""
        self._gone.set()
        for end, _ in self._ends.values():
            end.reset()

    def end(self, direction: Direction) -> None:
        """Tell the receiver that the stream is over; drop what the sender says after that."""
        self._ended.add(direction)
        _, sink = self._ends[direction]
        if not sink.writer.transport.is_closing():
            sink.writer.write_eof()

    async def _carry(self, direction: Direction) -> None:
        source, _ = self._ends[direction]
        clock = asyncio.get_running_loop()
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(direction, way))
            data = b"?"
            while data:
                data = await source.reader.read(_CHUNK)
                if not await self._vanishes(direction, data):
                    await way.put((clock.time() + self._proxy.delay, data))

    async def _vanishes(self, direction: Direction, data: bytes) -> bool:
        """Return whether `data` falls into a black hole; the end of a stream stays there."""
        if direction not in self._proxy.blackholes:
            return False
        self.lost = True
        if not data:
            await self._gone.wait()
            raise ConnectionResetError
        return True

    async def _deliver(
        self, direction: Direction, way: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        _, sink = self._ends[direction]
        clock = asyncio.get_running_loop()
        while True:
            due, data = await way.get()
            await asyncio.sleep(max(0.0, due - clock.time()))
            if not data:
                self.end(direction)
                return
            if direction in self._ended:
                continue
            sink.writer.write(self._proxy.admit(direction, data))
            await sink.writer.drain()
            if self._proxy.is_due_to_cut:
                self._proxy.cut()
                raise ConnectionResetError

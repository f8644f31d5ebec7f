"""Links, addresses and network namespaces through netlink: the few operations that are needed.

A namespace is made and entered in a thread of its own, because the kernel keeps it per thread;
the thread ends with the call, and nothing else of this program ever leaves the host's. Forking,
which netlink libraries do for this, is no choice in a process that speaks gRPC.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from miren.base.errors import DeadlineExceeded, RuntimeFailure

__all__ = [
    "Link",
    "add_bridge",
    "add_netns",
    "add_veth",
    "addresses",
    "configure_inside",
    "delete_link",
    "delete_netns",
    "link_exists",
    "routes",
    "veths",
]

_TIMEOUT = 20.0
_AF_INET = 2
# linux/sched.h, sys/mount.h
_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Link:
    """A network device; `alias` is free text that the kernel keeps with it."""

    name: str
    alias: str
    master: str | None


@asynccontextmanager
async def _netlink(what: str) -> AsyncIterator[Any]:
    """Yield a netlink socket; refusals of the kernel become RuntimeFailure about `what`."""
    try:
        async with asyncio.timeout(_TIMEOUT), AsyncIPRoute() as socket:
            yield socket
    except NetlinkError as error:
        reason = os.strerror(error.code)
        raise RuntimeFailure(f"{what}: {reason}") from error
    except TimeoutError as error:
        raise DeadlineExceeded(f"{what} took over {_TIMEOUT:g} s") from error


def link_exists(name: str) -> bool:
    """Return whether the host has a link of that name."""
    return Path("/sys/class/net", name).exists()


async def addresses() -> Sequence[tuple[str, IPv4Interface]]:
    """Return the host's IPv4 addresses with the names of their links."""
    async with _netlink("listing addresses") as socket:
        names = {link["index"]: link.get("ifname") async for link in await socket.link("dump")}
        return [
            (str(names.get(row["index"])), IPv4Interface(f"{local}/{row['prefixlen']}"))
            async for row in await socket.addr("dump", family=_AF_INET)
            if (local := row.get("local") or row.get("address")) is not None
        ]


async def routes() -> Sequence[tuple[str, IPv4Network]]:
    """Return the host's IPv4 routes, bar the default ones, with the names of their links."""
    async with _netlink("listing routes") as socket:
        names = {link["index"]: link.get("ifname") async for link in await socket.link("dump")}
        return [
            (str(names.get(row.get("oif"))), IPv4Network(f"{row.get('dst')}/{row['dst_len']}"))
            async for row in await socket.route("dump", family=_AF_INET)
            if row.get("dst") is not None
        ]


async def veths() -> Sequence[Link]:
    """Return the host's ends of all veth pairs."""
    async with _netlink("listing links") as socket:
        rows = [row async for row in await socket.link("dump")]
    names = {row["index"]: str(row.get("ifname")) for row in rows}
    return [
        Link(names[row["index"]], str(row.get("ifalias") or ""), names.get(row.get("master")))
        for row in rows
        if row.get(("linkinfo", "kind")) == "veth"
    ]


async def add_bridge(name: str, address: IPv4Interface, *, mac: str) -> None:
    """Make a bridge, unless it is there, with this address, and set it up."""
    async with _netlink(f"bridge {name}") as socket:
        if not link_exists(name):
            await socket.link("add", ifname=name, kind="bridge", address=mac)
        index = await _index(socket, name)
        network = address.network
        await socket.addr(
            "replace",
            index=index,
            address=str(address.ip),
            prefixlen=network.prefixlen,
            broadcast=str(network.broadcast_address),
        )
        await socket.link("set", index=index, state="up")


async def add_veth(name: str, *, bridge: str, netns: Path, mac: str, alias: str) -> None:
    """Make a veth pair: `name` an isolated port of the bridge, `eth0` inside the namespace."""
    async with _netlink(f"veth {name}") as socket:
        inside = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            peer = {"ifname": "eth0", "address": mac, "net_ns_fd": inside}
            await socket.link("add", ifname=name, kind="veth", peer=peer)
        finally:
            os.close(inside)
        index, master = await _index(socket, name), await _index(socket, bridge)
        # The name first: by its alias a purge knows whose it is.
        await socket.link("set", index=index, ifalias=alias)
        await socket.link("set", index=index, master=master)
        await socket.brport("set", index=index, isolated=1)
        await socket.link("set", index=index, state="up")


async def configure_inside(netns: Path, address: IPv4Interface, *, gateway: IPv4Address) -> None:
    """Give the namespace's eth0 its address and its way out, and set it up."""

    async def configure() -> None:
        async with _netlink(f"configuring {netns.name}") as socket:
            await socket.link("set", index=await _index(socket, "lo"), state="up")
            index = await _index(socket, "eth0")
            ip, length = str(address.ip), address.network.prefixlen
            await socket.addr("add", index=index, address=ip, prefixlen=length)
            await socket.link("set", index=index, state="up")
            await socket.route("add", dst="default", gateway=str(gateway), oif=index)

    def enter() -> None:
        inside = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(inside, _CLONE_NEWNET), f"entering {netns.name}")
        finally:
            os.close(inside)
        asyncio.run(configure())

    await _in_own_thread(enter)


async def delete_link(name: str) -> None:
    """Remove a link; a veth's other end goes with it. What is not there is no error."""
    async with _netlink(f"removing {name}") as socket:
        for index in await socket.link_lookup(ifname=name):
            try:
                await socket.link("del", index=index)
            except NetlinkError:
                # The kernel was first: it frees the links of a removed namespace by itself.
                if link_exists(name):
                    raise


async def add_netns(path: Path) -> None:
    """Make an empty network namespace that lives as long as it is bound at `path`."""

    def make() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), f"making {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o400, exist_ok=False)
        source, target = b"/proc/thread-self/ns/net", os.fsencode(path)
        _check(_libc.mount(source, target, b"none", _MS_BIND, None), f"binding {path.name}")

    await _in_own_thread(make)


def delete_netns(path: Path) -> None:
    """Let go of a network namespace. What is not there is no error."""
    _libc.umount2(os.fsencode(path), _MNT_DETACH)
    path.unlink(missing_ok=True)


async def _index(socket: Any, name: str) -> int:
    found: Sequence[int] = await socket.link_lookup(ifname=name)
    if not found:
        raise RuntimeFailure(f"there is no link {name}")
    return found[0]


def _check(result: int, what: str) -> None:
    if result != 0:
        raise RuntimeFailure(f"{what}: {os.strerror(ctypes.get_errno())}")


async def _in_own_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread that ends with it, and before this returns: also when cancelled."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[BaseException | None] = loop.create_future()

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:  # whatever it is, the caller gets it
            error = caught
        loop.call_soon_threadsafe(done.set_result, error)

    threading.Thread(target=run, name="netns").start()
    try:
        await asyncio.shield(done)
    finally:
        # A cancelled call must leave no change that happens later.
        await asyncio.wait((done,))
    error = done.result()
    if error is not None:
        raise error

"""The bridge, and what connects a sandbox to it.

A sandbox has a network namespace of its own with one end of a veth pair in it, whose other end
is an isolated port of the bridge. The bridge's own address is the only place where the subnet
is kept: a restart reads it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from miren.base.errors import InvalidInput, RuntimeFailure
from miren.runtime.api import ContainerId
from miren.runtime.network import links
from miren.runtime.network.commands import nft, run
from miren.runtime.network.firewall import install_script, remove_script
from miren.runtime.network.ipam import choose_subnet, gateway, mac_of, next_address
from miren.runtime.network.names import NETNS_FOLDER, Names, bridge_name, table_name

__all__ = ["Network"]


class Network:
    """The network of one instance. Nothing is touched before `open`.

    `subnet` None means: any that the host does not use. Addresses are known only in memory:
    whoever keeps the sandboxes calls `claim` with theirs after a restart.
    """

    def __init__(self, instance: str, *, subnet: str | None = None) -> None:
        self._instance = instance
        self._bridge = bridge_name(instance)
        self._wanted = _parse(subnet) if subnet else None
        self._subnet: IPv4Network | None = None
        self._used: set[IPv4Address] = set()
        self._last: IPv4Address | None = None

    @property
    def subnet(self) -> IPv4Network:
        """The bridge's subnet, once it is open."""
        if self._subnet is None:
            raise RuntimeFailure("the network is not open")
        return self._subnet

    @property
    def gateway(self) -> IPv4Address:
        """The host's own address on the bridge."""
        return gateway(self.subnet)

    async def open(self) -> None:
        """Make the bridge and the firewall, or find those of an earlier run."""
        existing = await _subnet_of(self._bridge)
        if existing and self._wanted and existing != self._wanted:
            raise RuntimeFailure(
                f"bridge {self._bridge} has the subnet {existing}, not {self._wanted}",
                hint="stop all sandboxes and purge the network to change its subnet",
            )
        self._subnet = existing or await self._choose()
        # The firewall stands before the first sandbox can be connected.
        await nft(install_script(self._instance))
        address = gateway(self._subnet)
        # A fixed hardware address: a bridge otherwise takes on that of its lowest port, and
        # sandboxes would call the host by one that is gone.
        await links.add_bridge(
            self._bridge, _interface(address, self._subnet), mac=mac_of(address)
        )

    async def _choose(self) -> IPv4Network:
        taken = await _host_networks(but=self._bridge)
        if self._wanted is None:
            return choose_subnet(self._instance, taken)
        clash = next((other for other in taken if other.overlaps(self._wanted)), None)
        if clash is not None:
            raise RuntimeFailure(
                f"the subnet {self._wanted} overlaps {clash}, which this host uses already",
                hint="name another in [network] subnet, or none to have one chosen",
            )
        return self._wanted

    def claim(self, addresses: Iterable[IPv4Address]) -> None:
        """Mark addresses as used: those that sandboxes of an earlier run have."""
        self._used.update(addresses)

    def reserve(self) -> IPv4Address:
        """Return an address that is nobody's; it is used until `release`."""
        address = next_address(self.subnet, self._used, after=self._last)
        self._used.add(address)
        self._last = address
        return address

    def release(self, address: IPv4Address) -> None:
        """Give an address back."""
        self._used.discard(address)

    async def attach(self, id: ContainerId, address: IPv4Address) -> None:
        """Give the sandbox a network namespace with `address`, starting over if there is one.

        What a cancelled or failed call leaves behind, `detach` removes.
        """
        if address not in self.subnet:
            raise RuntimeFailure(
                f"{id} has the address {address}, outside of the network's {self.subnet}",
                hint="the subnet was changed: delete the sandbox and start another",
            )
        names = Names.of(id)
        await self.detach(id)
        await links.add_netns(names.netns_path)
        await links.add_veth(
            names.veth,
            bridge=self._bridge,
            netns=names.netns_path,
            mac=mac_of(address),
            alias=f"{self._mark}{names.netns}",
        )
        await links.configure_inside(
            names.netns_path, _interface(address, self.subnet), gateway=self.gateway
        )

    def is_attached(self, id: ContainerId) -> bool:
        """Return whether the sandbox's network namespace is there."""
        return Names.of(id).netns_path.exists()

    async def detach(self, id: ContainerId) -> None:
        """Remove the sandbox's network namespace and veth pair, as far as they exist."""
        names = Names.of(id)
        # The link first: the kernel frees that of a removed namespace only some time later.
        if links.link_exists(names.veth):
            await links.delete_link(names.veth)
        links.delete_netns(names.netns_path)

    async def purge(self) -> None:
        """Remove the bridge, the firewall and every sandbox's network on it; nobody else's."""
        for port in await self._ports():
            await links.delete_link(port.name)
            netns = port.alias.removeprefix(self._mark)
            if netns != port.alias:
                links.delete_netns(NETNS_FOLDER / netns)
        await links.delete_link(self._bridge)
        await nft(remove_script(self._instance))

    async def ports(self) -> Sequence[str]:
        """Return the host names of this instance's veths, on the bridge or fallen off it."""
        return [port.name for port in await self._ports()]

    async def _ports(self) -> Sequence[links.Link]:
        return [
            veth
            for veth in await links.veths()
            if veth.master == self._bridge or veth.alias.startswith(self._mark)
        ]

    @property
    def _mark(self) -> str:
        """What the alias of each of our veths begins with; the name of its netns follows."""
        return f"{table_name(self._instance)}/"

    async def leftovers(self) -> Sequence[str]:
        """Return what is there for all sandboxes: the bridge and the firewall's table."""
        found = []
        if links.link_exists(self._bridge):
            found.append(f"bridge {self._bridge}")
        table = f"table inet {table_name(self._instance)}"
        if table in (await run("nft", "list", "tables")).splitlines():
            found.append(f"nft {table}")
        return found


def _parse(subnet: str) -> IPv4Network:
    try:
        parsed = IPv4Network(subnet)
    except ValueError as error:
        raise InvalidInput(f"{subnet!r} is no IPv4 subnet like 10.80.0.0/20: {error}") from error
    if parsed.prefixlen > 29:
        raise InvalidInput(f"the subnet {subnet} is too small: /29 is the least")
    return parsed


def _interface(address: IPv4Address, subnet: IPv4Network) -> IPv4Interface:
    return IPv4Interface(f"{address}/{subnet.prefixlen}")


async def _subnet_of(link: str) -> IPv4Network | None:
    found = [address.network for name, address in await links.addresses() if name == link]
    return found[0] if found else None


async def _host_networks(*, but: str) -> Sequence[IPv4Network]:
    """Return every network that the host has an address in or a route to, bar the default."""
    addressed = [address.network for name, address in await links.addresses() if name != but]
    routed = [network for name, network in await links.routes() if name != but]
    return [*addressed, *routed]

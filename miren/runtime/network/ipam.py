"""Which address a sandbox gets, and which subnet the bridge: pure decisions over sets."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from miren.base.errors import RuntimeFailure

__all__ = ["choose_subnet", "gateway", "mac_of", "next_address"]

# 10.64.0.0/10 without the first /16s, which other tools like best.
_CANDIDATES = [IPv4Network((0x0A400000 + (index << 12), 20)) for index in range(256, 1024)]


def gateway(subnet: IPv4Network) -> IPv4Address:
    """Return the bridge's own address: the first host of the subnet."""
    return subnet.network_address + 1


def next_address(
    subnet: IPv4Network, used: Collection[IPv4Address], *, after: IPv4Address | None
) -> IPv4Address:
    """Return the next free address behind `after`, going round at the end.

    Going round instead of taking the lowest keeps a freed address unused for as long as
    possible, so that nobody's cached connection ends up at a stranger. Raises RuntimeFailure
    when every address is used.
    """
    first = int(gateway(subnet)) + 1
    count = int(subnet.broadcast_address) - first
    start = int(after) + 1 - first if after is not None and after in subnet else 0
    for step in range(count):
        address = IPv4Address(first + (start + step) % count)
        if address not in used:
            return address
    raise RuntimeFailure(
        f"all {count} addresses of {subnet} are in use",
        hint="delete sandboxes, or start with a larger subnet in [network] subnet",
    )


def choose_subnet(instance: str, taken: Iterable[IPv4Network]) -> IPv4Network:
    """Return a /20 in 10.64.0.0/10 that meets none of `taken`.

    Where the search starts depends on the instance, so that two that start at once seldom
    choose the same. Raises RuntimeFailure when the host uses all of them.
    """
    used: Sequence[IPv4Network] = list(taken)
    digest = hashlib.sha256(instance.encode()).digest()
    start = int.from_bytes(digest[:4], "big")
    for step in range(len(_CANDIDATES)):
        candidate = _CANDIDATES[(start + step) % len(_CANDIDATES)]
        if not any(candidate.overlaps(other) for other in used):
            return candidate
    raise RuntimeFailure(
        "no subnet in 10.64.0.0/10 is free of the host's routes",
        hint="name a free one in [network] subnet",
    )


def mac_of(address: IPv4Address) -> str:
    """Return the hardware address that goes with `address`, locally administered.

    Bound together, an address that is given out again is still right in everybody's neighbour
    table.
    """
    return "02:4d:" + ":".join(f"{byte:02x}" for byte in address.packed)

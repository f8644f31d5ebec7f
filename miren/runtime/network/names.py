"""What the network's parts are called on the host. Nothing is ever found by guessing."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from miren.runtime.api import ContainerId

__all__ = ["Names", "bridge_name", "netns_name", "table_name", "veth_name"]

NETNS_FOLDER = Path("/run/netns")

_DIGITS = string.digits + string.ascii_lowercase


@dataclass(frozen=True, slots=True)
class Names:
    """The host names of one container's network."""

    netns: str
    veth: str

    @classmethod
    def of(cls, id: ContainerId) -> Names:
        """Return the names for `id`."""
        return cls(netns_name(id), veth_name(id))

    @property
    def netns_path(self) -> Path:
        """Where the network namespace can be opened."""
        return NETNS_FOLDER / self.netns


def bridge_name(instance: str) -> str:
    """Return the bridge's name: 9 characters for an instance id of 6."""
    return f"mv-{instance}"


def table_name(instance: str) -> str:
    """Return the nftables table's name, in the family inet."""
    return f"miren-{instance}"


def netns_name(id: ContainerId) -> str:
    """Return the network namespace's name."""
    return f"miren-{id}"


def veth_name(id: ContainerId) -> str:
    """Return the host end's name: the kernel allows 15 characters, so the uid is cut.

    The attempt is written in base 36 and wraps after 1296, when the first is long gone.
    """
    tens, ones = divmod(id.attempt % (36 * 36), 36)
    return f"mv{id.uid[:10]}{_DIGITS[tens]}{_DIGITS[ones]}"

"""The network of one instance on this host: a bridge, an address for each sandbox, a firewall.

The host reaches every sandbox; a sandbox reaches neither the host nor another sandbox. It is
set up with the `ip` and `nft` programs: they took no longer than netlink calls from Python,
need no fork of this process to enter a network namespace, and say in words what they refuse.
"""

from __future__ import annotations

from miren.runtime.network.bridge import Network
from miren.runtime.network.names import Names, bridge_name, netns_name, table_name, veth_name

__all__ = ["Names", "Network", "bridge_name", "netns_name", "table_name", "veth_name"]

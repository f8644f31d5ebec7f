"""The instance's nftables table: sandboxes may answer the host, never call it."""

from __future__ import annotations

from miren.runtime.network.names import bridge_name, table_name

__all__ = ["install_script", "remove_script"]


def install_script(instance: str) -> str:
    """Return the script that sets the table up, replacing one that is there.

    Sandboxes on one bridge are kept apart by isolated bridge ports; where frames on a bridge
    pass the IP hooks as well (br_netfilter), the forward chain says the same once more.
    """
    bridge = bridge_name(instance)
    return f"""{remove_script(instance)}
table inet {table_name(instance)} {{
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname "{bridge}" ct state established,related accept
        iifname "{bridge}" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname "{bridge}" drop
        oifname "{bridge}" drop
    }}
}}
"""


def remove_script(instance: str) -> str:
    """Return the script that removes the table, also when it is not there."""
    # Deleting what does not exist is an error; adding what exists is none.
    table = f"inet {table_name(instance)}"
    return f"add table {table}\ndelete table {table}\n"

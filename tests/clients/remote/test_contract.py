"""The client over a server does what every client does."""

from __future__ import annotations

from tests.contracts.client_contract import ClientContract


class TestRemoteClient(ClientContract):
    """Over a server of each store of this process."""

"""The client over a store does what every client does."""

from __future__ import annotations

from tests.contracts.client_contract import ClientContract


class TestStoreClient(ClientContract):
    """Over each store of this process."""

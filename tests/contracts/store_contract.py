"""The conformance suite of every store: one class, whose cases each backend's tests inherit.

A backend's test class derives from `StoreContract` and overrides the fixture `open_store`.
"""

from __future__ import annotations

from tests.contracts.store_leases import LeaseContract
from tests.contracts.store_reading import ReadingContract
from tests.contracts.store_refusals import RefusalContract
from tests.contracts.store_transactions import TransactionContract
from tests.contracts.store_watching import WatchContract

__all__ = ["StoreContract"]


class StoreContract(
    ReadingContract, TransactionContract, RefusalContract, WatchContract, LeaseContract
):
    """Everything `miren.entities.store.api` promises."""

"""What every `Client` promises, wherever the entities are: each one's tests inherit the cases.

A test class derives from `ClientContract` and has the fixture `client`, whose own project is
`default` and for which there is another one, `shop`.
"""

from __future__ import annotations

from tests.contracts.client_reading import ReadingContract
from tests.contracts.client_watching import WatchingContract
from tests.contracts.client_writing import WritingContract

__all__ = ["ClientContract"]


class ClientContract(ReadingContract, WritingContract, WatchingContract):
    """Everything `miren.entities.client` promises of every client."""

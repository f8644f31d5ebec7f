"""Everything that a client in another process needs: entities, events, leases and elections.

It is what `miren.clients.remote` speaks to, whichever store the server has.
"""

from __future__ import annotations

from collections.abc import Mapping

from miren.entities.client import Client
from miren.entities.kinds import Kinds
from miren.entities.store_client import StoreClient
from miren.rpc.server import Method
from miren.server.services.controllers import ControllerService
from miren.server.services.coordination import CoordinationService
from miren.server.services.entities import EntityService
from miren.server.services.identity import StoreIdentity

__all__ = ["client_methods"]


def client_methods(
    client: Client, below: StoreClient, kinds: Kinds, *, owner: int
) -> Mapping[str, Method]:
    """Return the methods by their full names.

    `client` speaks every version of the kinds, over `below`; `owner` is the server's user id.
    """
    methods = {
        **EntityService(client, kinds, owner=owner).methods(),
        **ControllerService(client, kinds, owner=owner).methods(),
        **CoordinationService(below, kinds, owner=owner).methods(),
    }
    return StoreIdentity(below.store).over(methods)

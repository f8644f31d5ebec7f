"""The secrets that a node needs to start containers, read from the store on its behalf."""

from __future__ import annotations

from collections.abc import Mapping

from miren.base.errors import NotFound
from miren.entities.client import Actor, Client
from miren.entities.gen import Secret
from miren.entities.secrets import SecretText

__all__ = ["NodeSecrets"]


class NodeSecrets:
    """Reads Secrets as the actor `node:<name>`, so that the log tells who saw them."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client.acting_as(Actor(f"node:{node}", is_admin=True))

    async def read(self, project: str, name: str) -> Mapping[str, SecretText] | None:
        """Return the texts of a Secret by their keys, None when there is no such Secret."""
        try:
            found = await self._client.reveal(Secret, name, project=project)
        except NotFound:
            return None
        return found.spec.data

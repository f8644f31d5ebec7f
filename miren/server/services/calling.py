"""Who calls, and the client that answers: as that actor, in its project, behind its fences.

A caller that leads an election names the leadership with every request (`fences`), so that its
late writes are refused here as they would be by a client in this process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from miren.base.errors import InvalidInput, Refused
from miren.entities.client import Actor, Client
from miren.rpc.server import Call
from miren.server.services import requests

__all__ = ["Callers", "actor_of"]

#: Leaderships whose clients are kept, with what those remember.
_KEPT = 64
_MOST_FENCES = 8

Fences = tuple[tuple[str, int], ...]


def actor_of(call: Call, *, owner: int) -> Actor:
    """Return who calls: on the socket, root and the server's own user may do everything."""
    if call.uid not in (0, owner):
        raise Refused(f"user {call.uid} may not use this server")
    return Actor(f"uid:{call.uid}", is_admin=True)


class Callers:
    """Gives each caller `client` as it may use it. `owner` is the server's user id."""

    def __init__(self, client: Client, *, owner: int) -> None:
        self._client = client
        self._owner = owner
        self._fenced: OrderedDict[Fences, Client] = OrderedDict()

    def client(self, call: Call, request: Mapping[str, Any]) -> Client:
        """Return the client for one request; raises Refused, InvalidInput."""
        actor = actor_of(call, owner=self._owner)
        client = self._behind(_fences(request)).acting_as(actor)
        project = requests.project(request)
        return client.in_project(project) if project else client

    def _behind(self, fences: Fences) -> Client:
        if not fences:
            return self._client
        client = self._fenced.pop(fences, None)
        if client is None:
            client = self._client
            for fence in fences:
                client = client.fenced(*fence)
        self._fenced[fences] = client
        if len(self._fenced) > _KEPT:
            self._fenced.popitem(last=False)
        return client


def _fences(request: Mapping[str, Any]) -> Fences:
    given = request.get("fences", [])
    if not isinstance(given, list) or len(given) > _MOST_FENCES:
        raise InvalidInput(f"fences must be a list of {_MOST_FENCES} at most")
    if not all(isinstance(each, dict) for each in given):
        raise InvalidInput("each of the fences must be an object")
    return tuple(
        (requests.text(each, "key"), requests.revision(each.get("revision"), "revision"))
        for each in given
    )

"""The token that stands for a user and password, renewed by whoever first finds it expired.

etcd forgets a token that is not used for a while (five minutes by default), and all of them when
authentication is turned off and on. It says so before it does anything, so the call is made again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from grpc.aio import Metadata

__all__ = ["ANONYMOUS", "Auth"]

log = logging.getLogger(__name__)

_HAS_LEADER = ("hasleader", "true")


class _Carried(Metadata):
    """Metadata that nobody changes. grpc asks each call's for its length and then for its items.

    Its own answers both by going through a dict of lists, which costs a call as much as making
    its request.
    """

    def __init__(self, *items: tuple[str, str]) -> None:
        super().__init__(*items)
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)


#: What every call says: a member that has lost its leader refuses at once, and does nothing.
#: grpc makes a Metadata for every call that does not bring its own.
ANONYMOUS: Metadata = _Carried(_HAS_LEADER)


class Auth:
    """What calls carry in their metadata. `authenticate` fetches a new token, None for none."""

    def __init__(self, authenticate: Callable[[float], Awaitable[str | None]] | None) -> None:
        self.metadata = ANONYMOUS
        #: Whether etcd gave no token the last time, since it asks nobody who he is.
        self.is_ignored = False
        self._authenticate = authenticate
        self._lock = asyncio.Lock()

    @property
    def can_renew(self) -> bool:
        """Whether there are a user and password to renew a token with."""
        return self._authenticate is not None

    async def renew(self, used: Metadata, end: float) -> None:
        """Replace the token in the metadata `used`, unless somebody has meanwhile.

        Raises Refused when etcd takes the user and password no longer, Unavailable when none
        can be asked by `end` (loop time).
        """
        if self._authenticate is None:
            return
        async with self._lock:
            if self.metadata is not used:
                return
            token = await self._authenticate(end)
            if token is None and not self.is_ignored:
                log.warning("etcd takes no user: its authentication is off, and all may do all")
            self.is_ignored = token is None
            self.metadata = _Carried(_HAS_LEADER, *([("token", token)] if token else []))

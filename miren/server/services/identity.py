"""Which store answers: callers that name the one they know are refused by any other.

What a caller has read means nothing in another store, whose revisions are counted anew. So a
request may say which `store` it rests on, by uuid. Its answer then says which one it was (a stream
in a first message of its own), and a request that rests on another raises StoreReset, having done
nothing. An empty text only asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from miren.base.errors import InvalidInput, StoreReset
from miren.entities.store.api import Store
from miren.rpc.server import Call, Method, Stream, Unary

__all__ = ["StoreIdentity"]

Message = Mapping[str, Any]


class StoreIdentity:
    """The identity of `store`, asked for once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._uuid = ""

    def over(self, methods: Mapping[str, Method]) -> Mapping[str, Method]:
        """Return the methods, each of which now looks at the `store` of its requests."""
        return {name: self._checked(method) for name, method in methods.items()}

    def _checked(self, method: Method) -> Method:
        match method:
            case Unary(answer):

                async def answered(call: Call, request: Message) -> Message:
                    uuid = await self._check(request)
                    found = await self._noticing(answer(call, request))
                    return found if uuid is None else {**found, "store": uuid}

                return Unary(answered)
            case Stream(messages):

                async def told(call: Call, request: Message) -> AsyncIterator[Message]:
                    uuid = await self._check(request)
                    if uuid is not None:
                        yield {"store": uuid}
                    source = cast("Any", messages(call, request))
                    async with aclosing(source):
                        try:
                            async for message in source:
                                yield message
                        except StoreReset:
                            self._uuid = ""
                            raise

                return Stream(told)
        return method

    async def _check(self, request: Message) -> str | None:
        """Return the store's uuid if the request asks; raise StoreReset if it means another."""
        wanted = request.get("store")
        if wanted is None:
            return None
        if not isinstance(wanted, str):
            raise InvalidInput("store must be a text")
        if not self._uuid:
            self._uuid = (await self._store.status()).uuid
        if wanted not in ("", self._uuid):
            raise StoreReset(f"the store here is {self._uuid}, not {wanted}", hint="list again")
        return self._uuid

    async def _noticing(self, answer: Any) -> Message:
        try:
            return cast("Message", await answer)
        except StoreReset:
            self._uuid = ""  # the store has noticed itself that it is another one
            raise

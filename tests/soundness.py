"""Checks every store that clients wrote to when a test closes it: nothing is ever to repair.

The two stores of this process are told apart from those around them by identity. A test that
damages a store on purpose says so with the marker `damages`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from miren.base.errors import InvalidInput, Unavailable
from miren.entities.checking import check
from miren.entities.kinds import Kinds
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.entities.store_client import StoreClient


class Soundness:
    """Remembers which kinds the clients of a store know, and checks the store by them."""

    def __init__(self) -> None:
        self.is_on = True
        self.checked = 0
        self._kinds: WeakKeyDictionary[Any, list[Kinds]] = WeakKeyDictionary()

    def note(self, store: Any, kinds: Kinds) -> None:
        """Remember that a client with these kinds writes to a store."""
        while hasattr(store, "inner"):
            store = store.inner
        known = self._kinds.setdefault(store, [])
        if all(each is not kinds for each in known):
            known.append(kinds)

    async def assert_sound(self, store: Any) -> None:
        """Fail when something is to repair in a store that clients wrote to."""
        known = self._kinds.get(store)
        if not known or not self.is_on:
            return
        try:
            every = Kinds(dict.fromkeys(kind.entity for kinds in known for kind in kinds))
        except InvalidInput:
            return  # clients that disagree about a kind: who is right is what that test is about
        try:
            report = await check(store, every)
        except Unavailable:
            return  # the test has closed it itself, and checked it then
        self.checked += 1
        assert report.is_clean, "\n".join(map(str, report.problems))


@contextmanager
def checking_stores() -> Iterator[Soundness]:
    """Check stores as they are closed for as long as the body runs."""
    soundness = Soundness()
    begin = StoreClient.__init__

    def noting(client: StoreClient, *args: Any, **options: Any) -> None:
        begin(client, *args, **options)
        soundness.note(client.store, client.kinds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreClient, "__init__", noting)
        for store in (MemoryStore, SQLiteStore):
            patch.setattr(store, "__aexit__", _checked(store.__aexit__, soundness))
        yield soundness


def _checked(leave: Any, soundness: Soundness) -> Any:
    async def leaving(store: Any, *exc: object) -> None:
        try:
            if not any(exc):
                await soundness.assert_sound(store)
        finally:
            await leave(store, *exc)

    return leaving

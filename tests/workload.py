"""Clients that make random calls on a few keys, all at once, and have them recorded.

Every value is written by one call only, so that seeing it tells whose write it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial

from miren.entities.store.api import (
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Put,
    Store,
    TransactionResult,
)
from tests.recording import RANGE, ROOT, Recorder

__all__ = ["Client", "work"]


class Client:
    """Makes random calls on a few keys, and remembers what it last saw of each."""

    def __init__(
        self, store: Store, recorder: Recorder, *, name: str, keys: Sequence[str]
    ) -> None:
        self._store = store
        self._call = partial(recorder.call, client=name)
        self._name = name
        self._keys = list(keys)
        self._writes = 0
        self._known: dict[str, KeyValue | None] = {}

    async def step(self, rng: random.Random) -> None:
        """Make one call."""
        key, other = rng.sample(self._keys, 2)
        match rng.choice(["get", "get", "put", "swap", "swap", "swap", "delete", "pair", "list"]):
            case "get":
                await self._get(key)
            case "put":
                await self._put({key: self._value()})
            case "swap":
                await self._swap(key)
            case "delete":
                await self._delete(key)
            case "pair":
                value = self._value()
                await self._put({key: value, other: value + b"'"})
            case "list":
                await self._list()

    async def _get(self, key: str) -> None:
        async with self._call("get") as call:
            call.saw = {key: await self._store.get(key)}
            self._known |= call.saw

    async def _list(self) -> None:
        async with self._call("list") as call:
            page = await self._store.list(RANGE)
            call.revision = page.revision
            there = {item.key: item for item in page.items}
            call.saw = {key: there.get(key) for key in self._keys}
            self._known |= call.saw

    async def _put(self, values: Mapping[str, bytes]) -> None:
        async with self._call("put", writes=values) as call:
            puts = [Put(key, value) for key, value in values.items()]
            call.revision = (await self._store.transact([], puts)).revision

    async def _delete(self, key: str) -> None:
        async with self._call("delete", writes={key: None}) as call:
            result = await self._store.transact([], [Delete(KeyRange.key(key))])
            call.saw, call.revision = {key: _only(result)}, result.revision

    async def _swap(self, key: str) -> None:
        known = self._known.get(key)
        is_fresh = Compare.unchanged(key, known.mod_revision if known else 0)
        new = self._value()
        expected = {key: known.value if known else None}
        async with self._call("swap", writes={key: new}, expected=expected) as call:
            result = await self._store.transact(
                [is_fresh], [Put(key, new)], [Get(KeyRange.key(key))]
            )
            call.revision, call.missed = result.revision, not result.succeeded
            if call.missed:
                call.saw = {key: _only(result)}
                self._known |= call.saw

    def _value(self) -> bytes:
        self._writes += 1
        return f"{self._name}.{self._writes}".encode()


def _only(result: TransactionResult) -> KeyValue | None:
    return result.reads[0][0] if result.reads[0] else None


async def work(
    stores: Sequence[Store],
    *,
    seed: int,
    clients: int = 6,
    steps: int = 40,
    keys: int = 3,
    recorder: Recorder | None = None,
    pace: float = 0.0,
) -> Recorder:
    """Let clients, spread over `stores` of the same data, make calls at once; return them all.

    `pace` is how long a client thinks between two calls, in seconds. Clients end early once the
    recorder that was given is told that it `is_over`.
    """
    recorder = recorder or Recorder()
    names = [f"{ROOT}{n:02}" for n in range(keys)]

    async def live(number: int) -> None:
        store = stores[number % len(stores)]
        client = Client(store, recorder, name=f"c{number}", keys=names)
        rng = random.Random(seed * 1000 + number)
        for _ in range(steps):
            if recorder.is_over:
                break
            await client.step(rng)
            await asyncio.sleep(pace * rng.random() * 2)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(live(number))
    return recorder

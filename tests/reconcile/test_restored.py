from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from miren.base.errors import StoreReset
from miren.entities.store.api import Bookmark, KeyRange, Put, Revision, Store
from miren.entities.store.forwarding import ForwardingStore
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from tests.builders import Greeting, make_greeting
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import now, running, virtually


class Restored(ForwardingStore):
    """Another store from one moment on, as after a restore from a backup."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.changed = asyncio.Event()

    async def restore(self, backup: Store) -> None:
        self.inner = backup
        self.changed.set()
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def watch(
        self, range: KeyRange, *, after: int
    ) -> AsyncIterator[AsyncIterator[Revision | Bookmark]]:
        async with self.inner.watch(range, after=after) as changes:
            yield self._until_restored(changes, self.changed)

    async def _until_restored(
        self, changes: AsyncIterator[Revision | Bookmark], changed: asyncio.Event
    ) -> AsyncIterator[Revision | Bookmark]:
        gone = asyncio.create_task(changed.wait())
        try:
            while True:
                step = asyncio.ensure_future(anext(changes))
                await asyncio.wait([step, gone], return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    step.cancel()
                    await asyncio.wait([step])
                    raise StoreReset("it is another one")
                yield step.result()
        finally:
            gone.cancel()


@virtually
async def test_a_restored_store_whose_revisions_are_lower_makes_nobody_wait() -> None:
    class Timing(Greeter):
        async def act(self, ctx: Context[Greeting], greeting: Greeting) -> None:
            times.append(now())
            await super().act(ctx, greeting)

    times: list[float] = []
    backup, store = MemoryStore(), Restored(MemoryStore())
    async with running(Timing(), store=store) as engine, AsyncExitStack() as stack:
        await engine.client.create(make_greeting())
        await engine.run_until_idle()
        for number in range(50):
            await engine.client.patch(Greeting, "hi", {"spec": {"text": f"{number}"}})
            await engine.run_until_idle()
        await stack.enter_async_context(backup)
        everything = await store.list(KeyRange.prefix("/"))
        await backup.transact([], [Put(item.key, item.value) for item in everything.items])
        await store.restore(backup)
        await asyncio.sleep(20)
        pauses = []
        for number in range(5):
            await engine.client.patch(Greeting, "hi", {"metadata": {"labels": {"n": f"{number}"}}})
            begun = now()
            await asyncio.sleep(10)
            pauses.append(times[-1] - begun)
        assert max(pauses) < 0.1, pauses

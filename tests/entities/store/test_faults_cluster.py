"""Stores of a cluster of three while members die, stop and fall silent.

Watches are pinned to one member each, because one that happens to sit on a member nothing happens
to proves nothing. Clients may turn to any member.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from miren.base.errors import OutcomeUnknown, Unavailable
from miren.entities.store.api import (
    KeyRange,
    Lease,
    Put,
    Revision,
    Store,
    TransactionResult,
)
from miren.entities.store.etcd.store import EtcdStore
from tests.backends import new_prefix
from tests.effort import tries
from tests.etcd import Cluster, Member, running_cluster, running_partition
from tests.faults.proxy import running_proxy
from tests.judges import check_watch, working
from tests.recording import MARK, ROOT, Recorder, Watcher, read_history, watching


@pytest.fixture(scope="module")
def whole() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
async def cluster(whole: Cluster) -> AsyncIterator[Cluster]:
    """Give the cluster with all of its members well, whatever the last test left."""
    yield whole
    for member in whole.members:
        if member.is_running:
            member.resume()
        else:
            member.start()
    for member in whole.members:
        await member.until_ready()
    await whole.until_leader()


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of the same data: some may turn to any member, and one is pinned to each."""

    everywhere: Sequence[Store]
    pinned: Sequence[Store]


@asynccontextmanager
async def stores(cluster: Cluster, prefix: str) -> AsyncIterator[Stores]:
    """Open three stores of all members, each in another order, and three of one member."""
    ends = cluster.endpoints
    async with AsyncExitStack() as stack:

        async def opened(endpoints: Sequence[str], timeout: float = 5.0) -> Store:
            store = EtcdStore(endpoints, prefix=prefix, timeout=timeout)
            return await stack.enter_async_context(store)

        orders = [ends[n:] + ends[:n] for n in range(len(ends))]
        everywhere = [await opened(order) for order in orders]
        yield Stores(everywhere, [await opened([end], 1.0) for end in ends])


async def test_nothing_is_lost_when_leaders_die(cluster: Cluster, prefix: str) -> None:
    async with (
        stores(cluster, prefix) as all_,
        working(all_.everywhere[0], *all_.everywhere, *all_.pinned) as recorder,
    ):
        for _ in range(tries(2, soak=5)):
            leader = await cluster.until_leader()
            leader.kill()
            await cluster.until_leader()
            await recorder.until_writes(20)
            leader.start()
            await leader.until_ready()
            await recorder.until_each_wrote(6)


async def test_nothing_is_lost_when_a_leader_stops_and_comes_back(
    cluster: Cluster, prefix: str
) -> None:
    """When it comes back it thinks that it leads, and still knows only what was then."""
    async with (
        stores(cluster, prefix) as all_,
        working(all_.everywhere[0], *all_.everywhere, *all_.pinned) as recorder,
    ):
        leader = await cluster.until_leader()
        leader.pause()
        await until_led_by_another(cluster, leader)
        # All but the client pinned to it have turned to others when this is reached.
        await recorder.until_each_wrote(5)
        leader.resume()
        await recorder.until_each_wrote(6)


async def until_led_by_another(cluster: Cluster, stopped: Member) -> None:
    async with asyncio.timeout(20):
        others = [each for each in cluster.members if each is not stopped]
        while not any(each.is_leader() for each in others):  # noqa: ASYNC110 - wakes nobody
            await asyncio.sleep(0.02)


async def test_a_watch_goes_on_where_it_was_after_most_members_were_gone(
    cluster: Cluster, prefix: str
) -> None:
    """Where no leader is, a connection is as good as before and brings nothing more."""
    first = cluster.members[0]
    async with EtcdStore([first.endpoint], prefix=prefix, timeout=1.5) as store:
        watcher = Watcher(store, after=(await store.status()).revision)
        async with watching(watcher):
            for other in cluster.members[1:]:
                other.pause()
            with pytest.raises((OutcomeUnknown, Unavailable)):
                await store.transact([], [Put(f"{ROOT}a", b"perhaps")])
            with pytest.raises(Unavailable):
                await store.get(f"{ROOT}a")
            for other in cluster.members[1:]:
                other.resume()
            for member in cluster.members:
                await member.until_ready()
            told = await store.transact([], [Put(f"{ROOT}b", b"now")])
            await watcher.until(told.revision, within=8)
            history = await read_history(store, after=watcher.after)
            await watcher.until(history[-1].revision)
            check_watch(watcher, history)


async def test_a_member_that_falls_silent_is_left_for_another(
    cluster: Cluster, prefix: str
) -> None:
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(running_proxy(member.socket))
            for member in cluster.members
        ]
        direct = EtcdStore(cluster.endpoints, prefix=prefix)
        store = EtcdStore([proxy.url for proxy in proxies], prefix=prefix)
        await stack.enter_async_context(direct)
        await stack.enter_async_context(store)
        recorder: Recorder = await stack.enter_async_context(working(direct, store))
        for _ in range(2):
            used = next(proxy for proxy in proxies if proxy.connections)
            used.blackhole()
            watcher = Watcher(store, after=(await direct.status()).revision)
            async with watching(watcher):
                told = await direct.transact([], [Put(f"{ROOT}~mark", b"silent")])
                await watcher.until(told.revision, within=8)
            await recorder.until_writes(10, within=8)
            used.heal()


async def test_a_member_that_hears_nothing_of_its_peers_shows_nothing_old(prefix: str) -> None:
    """Its clients reach it all the while, and it tells them, in the end, that it cannot answer."""
    async with running_partition() as parted, AsyncExitStack() as stack:
        outsider, others = parted.outsider, [member.endpoint for member in parted.others]

        async def opened(*endpoints: str, timeout: float = 1.0) -> Store:
            store = EtcdStore(endpoints, prefix=prefix, timeout=timeout)
            return await stack.enter_async_context(store)

        direct, pinned = await opened(*others), await opened(outsider.endpoint, timeout=0.5)
        moving = await opened(outsider.endpoint, *others)
        recorder = await stack.enter_async_context(working(direct, moving, pinned, direct))
        for leader in (parted.others[0], outsider):
            await parted.lead(leader)
            # It begins with the outsider and only watches: no call of its own shows a fault.
            silent = await opened(outsider.endpoint, *others)
            watcher = Watcher(silent, after=(await direct.status()).revision)
            async with watching(watcher):
                await watcher.until((await direct.transact([], [Put(MARK, b"whole")])).revision)
                parted.cut()
                told = await written(direct, Put(MARK, b"parted"))
                await watcher.until(told.revision, within=8)
                read, wrote = await asyncio.gather(
                    pinned.get(MARK),
                    pinned.transact([], [Put(MARK, b"never")]),
                    return_exceptions=True,
                )
                assert isinstance(read, Unavailable)
                assert isinstance(wrote, Unavailable | OutcomeUnknown)
                await written(moving, Put(MARK, b"moved"))
                await recorder.until_writes(10, within=8)
                parted.heal()
                await written(pinned, Put(MARK, b"healed"))
                history = await read_history(direct, after=watcher.after)
                last = history[-1].revision  # more may have come meanwhile
                await watcher.until(last)
                seen = [each for each in watcher.revisions if each.revision <= last]
                assert seen == history


async def written(store: Store, put: Put) -> TransactionResult:
    """Write once that can be done: by then another leader may have to be found."""
    async with asyncio.timeout(8):
        while True:
            try:
                return await store.transact([], [put])
            except (OutcomeUnknown, Unavailable):
                continue


async def test_a_lease_kept_alive_outlives_its_leader(cluster: Cluster, prefix: str) -> None:
    key = f"{ROOT}leased"
    async with EtcdStore(cluster.endpoints, prefix=prefix) as store:
        lease = await store.grant(2)
        put = await store.transact([], [Put(key, b"", lease)])
        watcher = Watcher(store, after=put.revision, range=KeyRange.key(key))
        async with watching(watcher):
            keeping = asyncio.create_task(keep(store, lease))
            leader = await cluster.until_leader()
            leader.kill()
            second = await cluster.until_leader()
            assert second is not leader
            await asyncio.wait([keeping], timeout=3)  # longer than it lasts by itself
            keeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeping
            assert not watcher.revisions
            # And when nobody keeps it, the new leader ends it.
            await received_end(watcher)
        assert await store.get(key) is None


async def keep(store: Store, lease: Lease) -> None:
    """Keep a lease alive, as long as that can be asked for."""
    while True:
        try:
            await store.keep_alive(lease)
        except Unavailable:
            continue
        await asyncio.sleep(0.2)


async def received_end(watcher: Watcher) -> Revision:
    async with asyncio.timeout(15):
        while not watcher.revisions:
            await watcher.until(watcher.position + 1)
    assert watcher.revisions[0].events[0].current is None
    return watcher.revisions[0]

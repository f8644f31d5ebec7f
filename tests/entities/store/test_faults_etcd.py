"""A store of one etcd while the network, or etcd, fails under it.

Whatever happens: no acknowledged write is lost, no event is lost, repeated or out of order, and
what a client is told is true. The judges are those of `tests.judges`; the reference is read
from etcd itself, past the proxy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import pytest

from miren.base.errors import Compacted, MirenError, OutcomeUnknown, Unavailable
from miren.entities.store.api import (
    Bookmark,
    Delete,
    KeyRange,
    Operation,
    Put,
    Revision,
    Store,
)
from miren.entities.store.etcd.store import EtcdStore
from tests.backends import new_prefix
from tests.effort import tries
from tests.etcd import Member, running_etcd
from tests.faults.proxy import Direction, Proxy, running_proxy
from tests.judges import check_watch, due, working
from tests.recording import MARK, RANGE, ROOT, Watcher, read_history, watching

#: As many as exposed clients that lose what is still to come when a catch-up breaks off.
BACKLOG = 5000


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with a long history, which began after `birth`."""

    prefix: str
    birth: int
    history: list[Revision]


async def fill(store: Store) -> tuple[int, list[Revision]]:
    """Write the backlog, 64 writes at a time."""
    birth = (await store.status()).revision
    numbers = iter(range(BACKLOG))

    async def write() -> None:
        for number in numbers:
            await store.transact([], [Put(f"{ROOT}{number % 50:02}", b"%300d" % number)])

    async with asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(write())
    history = await read_history(store, after=birth)
    assert len(history) == BACKLOG + 1  # and the mark
    return birth, history


def filled(member: Member) -> Filled:
    async def make() -> Filled:
        prefix = new_prefix()
        async with EtcdStore([member.endpoint], prefix=prefix) as store:
            return Filled(prefix, *await fill(store))

    with asyncio.Runner() as runner:
        return runner.run(make())


@pytest.fixture(scope="module")
def etcd() -> Iterator[Member]:
    with running_etcd() as member:
        yield member


@pytest.fixture(scope="module")
def backlog(etcd: Member) -> Filled:
    return filled(etcd)


@pytest.fixture
async def proxy(etcd: Member) -> AsyncIterator[Proxy]:
    async with running_proxy(etcd.socket) as proxy:
        yield proxy


@pytest.fixture
def prefix() -> str:
    return new_prefix()


@pytest.fixture
async def direct(etcd: Member, prefix: str) -> AsyncIterator[Store]:
    """Give a new store that no fault touches."""
    async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
        yield store


def beside(prefix: str, *proxies: Proxy, timeout: float = 5.0) -> EtcdStore:
    """Return another store over the same data, that goes through proxies; not open yet."""
    return EtcdStore([proxy.url for proxy in proxies], prefix=prefix, timeout=timeout)


async def received(watcher: Watcher, count: int) -> None:
    """Wait until a watcher has so many revisions."""
    async with asyncio.timeout(20):
        while len(watcher.revisions) < count:
            await watcher.until(watcher.position + 1)


# A backlog that breaks off.


@pytest.mark.parametrize("size", [1, 50_000, 1_500_000])
async def test_a_catch_up_that_is_cut_goes_on_where_it_was(
    backlog: Filled, proxy: Proxy, size: int
) -> None:
    async with beside(backlog.prefix, proxy) as store:
        watcher = Watcher(store, after=backlog.birth)
        proxy.cut_after(size)
        async with watching(watcher):
            await watcher.until(backlog.history[-1].revision)
    check_watch(watcher, backlog.history)
    assert proxy.accepted > 1


async def test_a_catch_up_that_is_cut_again_and_again_ends(backlog: Filled, proxy: Proxy) -> None:
    async with beside(backlog.prefix, proxy) as store:
        watcher = Watcher(store, after=backlog.birth)
        async with watching(watcher):
            for part in range(1, 6):
                proxy.cut_after(400_000)
                await received(watcher, part * 500)
            await watcher.until(backlog.history[-1].revision)
    check_watch(watcher, backlog.history)
    assert proxy.accepted > 3


async def test_a_catch_up_outlives_half_closed_connections(backlog: Filled, proxy: Proxy) -> None:
    async with beside(backlog.prefix, proxy) as store:
        watcher = Watcher(store, after=backlog.birth)
        async with watching(watcher):
            for part, direction in enumerate(Direction, start=1):
                await received(watcher, part * 1000)
                proxy.half_close(direction)
            await watcher.until(backlog.history[-1].revision)
    check_watch(watcher, backlog.history)
    assert proxy.accepted > 1


async def test_a_catch_up_outlives_etcd(etcd: Member, backlog: Filled) -> None:
    async with EtcdStore([etcd.endpoint], prefix=backlog.prefix) as store:
        watcher = Watcher(store, after=backlog.birth)
        async with watching(watcher):
            for part in (1, 2, 3):
                await received(watcher, part * 1000)
                etcd.kill()
                etcd.start()
                await etcd.until_ready()
            await watcher.until(backlog.history[-1].revision)
    check_watch(watcher, backlog.history)


# Work that goes on meanwhile.


async def test_work_goes_on_through_cuts(direct: Store, prefix: str, proxy: Proxy) -> None:
    rng = random.Random(1)
    async with beside(prefix, proxy) as store, working(direct, store) as recorder:
        for _ in range(tries(12, soak=80)):
            proxy.cut_after(rng.randrange(20_000))
            await proxy.until_cut()
            await recorder.until_writes(3)
    assert proxy.accepted >= 12


async def test_work_goes_on_through_half_closed_and_refused_connections(
    direct: Store, prefix: str, proxy: Proxy
) -> None:
    async with beside(prefix, proxy) as store, working(direct, store) as recorder:
        for direction in Direction:
            proxy.half_close(direction)
            await recorder.until_writes(5)
        proxy.refusing = True
        proxy.cut()
        before = proxy.accepted
        async with asyncio.timeout(10):
            while proxy.accepted < before + 2:  # noqa: ASYNC110 - attempts wake nobody
                await asyncio.sleep(0.01)
        proxy.heal()
        await recorder.until_writes(5)


async def test_work_goes_on_through_delays(direct: Store, prefix: str, proxy: Proxy) -> None:
    async with beside(prefix, proxy) as store, working(direct, store) as recorder:
        for delay in (0.03, 0.0, 0.1):
            proxy.delay = delay
            await recorder.until_writes(10)
    assert recorder.count(unknown=True) == 0


async def test_work_goes_on_through_deaths_of_etcd(
    etcd: Member, prefix: str, direct: Store
) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=prefix) as store,
        working(direct, store) as recorder,
    ):
        for _ in range(tries(3, soak=30)):
            etcd.kill()
            etcd.start()
            await etcd.until_ready()
            await recorder.until_writes(10)


HOLES = [(Direction.UP,), (Direction.DOWN,), (Direction.UP, Direction.DOWN)]


@pytest.mark.parametrize("holes", HOLES, ids=["up", "down", "both"])
async def test_a_silent_connection_is_left_for_another_endpoint(
    etcd: Member, prefix: str, direct: Store, proxy: Proxy, holes: tuple[Direction, ...]
) -> None:
    async with (
        running_proxy(etcd.socket) as other,
        beside(prefix, proxy, other) as store,
        working(direct, store) as recorder,
    ):
        used, unused = (proxy, other) if proxy.connections else (other, proxy)
        carried = unused.carried[Direction.DOWN]
        used.blackhole(*holes)
        watcher = Watcher(store, after=(await direct.status()).revision)
        async with watching(watcher):
            told = await direct.transact([], [Put(f"{ROOT}~mark", b"after")])
            await watcher.until(told.revision, within=8)
        await recorder.until_writes(10, within=8)
        assert unused.carried[Direction.DOWN] > carried
        used.heal()
        await recorder.until_writes(5)


async def test_a_healed_black_hole_is_left_where_there_is_no_other_endpoint(
    direct: Store, prefix: str, proxy: Proxy
) -> None:
    async with beside(prefix, proxy, timeout=1.0) as store:
        watcher = Watcher(store, after=(await direct.status()).revision)
        async with watching(watcher):
            proxy.blackhole()
            with pytest.raises(OutcomeUnknown):
                await store.transact([], [Put(f"{ROOT}a", b"lost")])
            with pytest.raises(MirenError):
                await store.get(f"{ROOT}a")
            told = await direct.transact([], [Put(f"{ROOT}b", b"")])
            proxy.heal()
            await watcher.until(told.revision, within=8)
            assert await store.get(f"{ROOT}a") is None
            check_watch(watcher, await read_history(direct, after=watcher.after))


# The history is gone, calls are given up, tokens end.


async def drain(items: AsyncIterator[Revision | Bookmark], last: int) -> None:
    """Read until the watch ends, which shows nothing beyond `last` before."""
    async with asyncio.timeout(10):
        async for item in items:
            assert item.revision <= last


@pytest.mark.parametrize("missed", ["writes", "one delete"])
async def test_history_compacted_while_disconnected_is_told_and_never_skipped(
    direct: Store, prefix: str, proxy: Proxy, missed: str
) -> None:
    """A delete in the compacted revision itself is gone, and etcd does not tell."""
    key = f"{ROOT}a"
    async with beside(prefix, proxy) as store, AsyncExitStack() as stack:
        birth = (await direct.status()).revision
        items = await stack.enter_async_context(store.watch(RANGE, after=birth))
        first = await direct.transact([], [Put(key, b"1")])
        async with asyncio.timeout(10):
            while (await anext(items)).revision < first.revision:
                pass
        proxy.refusing = True
        proxy.cut()
        delete = Delete(KeyRange.key(key))
        changes: list[Operation] = [Put(key, b"2")] * 5 if missed == "writes" else [delete]
        for change in changes:
            last = await direct.transact([], [change])
        await direct.compact(last.revision)
        proxy.heal()
        with pytest.raises(Compacted) as caught:
            await drain(items, first.revision)
        assert caught.value.oldest == last.revision
        # Whoever lists again is told of everything from there on.
        page = await store.list(RANGE)
        watcher = Watcher(store, after=page.revision)
        async with watching(watcher):
            told = await direct.transact([], [Put(key, b"3")])
            await watcher.until(told.revision)


@pytest.mark.parametrize("seed", range(tries(2, soak=30)))
async def test_a_write_given_up_happened_wholly_or_not(
    direct: Store, prefix: str, proxy: Proxy, seed: int
) -> None:
    rng = random.Random(seed)
    birth = (await direct.status()).revision
    acknowledged = 0
    async with beside(prefix, proxy) as store:
        for number in range(60):
            proxy.delay = rng.choice([0.0, 0.002])
            value = b"%d" % number
            puts = [Put(f"{ROOT}{name}", value) for name in "abc"]
            writing = asyncio.ensure_future(store.transact([], puts))
            await asyncio.wait([writing], timeout=rng.random() * 0.006)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
                acknowledged += 1
        proxy.heal()
        await store.transact([], [Put(f"{ROOT}end", b"")])
    history = await read_history(direct, after=birth)
    # What was given up may come after all else, but the end came, so the store is fit for use.
    wrote = [
        {event.key: event.current.value for event in each.events if event.current}
        for each in history
        if not {event.key for event in each.events} & {MARK, f"{ROOT}end"}
    ]
    assert 0 < acknowledged <= len(wrote) <= 60
    for each in wrote:
        assert list(each) == [f"{ROOT}{name}" for name in "abc"]
        assert len(set(each.values())) == 1
    numbers = [int(each[f"{ROOT}a"]) for each in wrote]
    assert len(numbers) == len(set(numbers))


async def test_work_and_watches_outlast_tokens() -> None:
    with running_etcd(password="secret", arguments=["--auth-token-ttl", "1"]) as etcd:
        user, prefix = ("root", "secret"), new_prefix()
        async with (
            EtcdStore([etcd.endpoint], prefix=prefix, user=user) as direct,
            EtcdStore([etcd.endpoint], prefix=prefix, user=user) as store,
        ):
            watcher = Watcher(store, after=(await store.status()).revision)
            clock = asyncio.get_running_loop()
            async with watching(watcher):
                end = clock.time() + 2.5
                async with working(direct, store, pace=0.05) as recorder:
                    while clock.time() < end:
                        await recorder.until_writes(1)
                # Nobody calls for longer than a token lasts, and then everybody does.
                with pytest.raises(TimeoutError):
                    await watcher.until(watcher.position + 1, within=1.5)
                told = await asyncio.gather(
                    *(store.transact([], [Put(f"{ROOT}{n}", b"late")]) for n in range(20))
                )
                await watcher.until(max(each.revision for each in told))
                mine = due(watcher, await read_history(direct, after=watcher.after))
                assert watcher.revisions == mine[: len(watcher.revisions)]
        assert not any(call.refused for call in recorder.calls)


async def test_where_nothing_listens_it_is_clear_that_nothing_happened(proxy: Proxy) -> None:
    proxy.refusing = True
    with pytest.raises(Unavailable):
        async with EtcdStore([proxy.url], timeout=0.5):
            pass

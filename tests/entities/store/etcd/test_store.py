from __future__ import annotations

import asyncio
import itertools
import json
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from miren.base.errors import (
    InvalidInput,
    MirenError,
    NotFound,
    OutcomeUnknown,
    Refused,
    StoreFull,
    Unavailable,
)
from miren.entities.store.api import Delete, KeyRange, Put, Store
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.retention import Retention
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_leases import KEPT, LONG, keys_of, next_revision, put_leased
from tests.contracts.store_reading import EVERYTHING, OpenStore, put
from tests.etcd import Member, running_etcd

#: The contract's transactions are larger than etcd takes by default.
LARGE = ("--max-txn-ops", "100000", "--max-request-bytes", str(64 << 20))

_numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd() -> Iterator[Member]:
    with running_etcd(arguments=LARGE) as member:
        yield member


@pytest.fixture
def prefix() -> str:
    """Return what tells this test's store from those of the others in the same etcd."""
    return f"/{next(_numbers)}"


class TestEtcdStore(StoreContract):
    @pytest.fixture
    def open_store(self, etcd: Member, prefix: str) -> OpenStore:
        def make() -> Store:
            return EtcdStore([etcd.endpoint], prefix=prefix)

        return make

    lease_unit = 1.0

    # It needs the server, which here is not what the fixture opens.
    async def test_after_a_restart_a_lease_lasts_its_whole_time_again(  # type: ignore[override]
        self, open_store: OpenStore, etcd: Member
    ) -> None:
        async with open_store() as store:
            short, long = await store.grant(KEPT), await store.grant(LONG)
            revision = await put_leased(store, short, "/a")
            await put_leased(store, long, "/b")
            while (await store.lease(long)).remaining > LONG - 2:
                await store.keep_alive(short)
                await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await store.keep_alive(short)
        etcd.restart()
        async with open_store() as store:
            assert (await store.lease(long)).remaining > LONG - 2
            assert await keys_of(store) == ["/a", "/b"]
            async with store.watch(EVERYTHING, after=revision + 1) as items:
                assert [event.key for event in (await next_revision(items)).events] == ["/a"]
            assert (await store.lease(long)).keys == ("/b",)
            with pytest.raises(NotFound):
                await store.lease(short)

    async def test_too_many_changes_for_one_revision_are_invalid(self, store: Store) -> None:
        # etcd knows no number that is too many. It is slow with many values before, though.
        count = 2000
        await store.transact([], [Put(f"/a/{n}", b"") for n in range(count)])
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items:
            result = await store.transact([], [Put("/c", b""), Delete(KeyRange.prefix("/a/"))])
            deleted = (await next_revision(items)).events
        assert result.revision == start + 1
        assert len(deleted) == count + 1
        assert await keys_of(store) == ["/c"]


@pytest.fixture
async def store(etcd: Member, prefix: str) -> AsyncIterator[EtcdStore]:
    async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
        yield store


async def test_stores_with_other_prefixes_do_not_see_each_other(etcd: Member, prefix: str) -> None:
    async with (
        EtcdStore([etcd.endpoint], prefix=prefix) as one,
        EtcdStore([etcd.endpoint], prefix=f"{prefix}b") as other,
    ):
        assert (await one.status()).uuid != (await other.status()).uuid
        assert await keys_of(one) == []
        for key in ("/a", "b/a", "/m/store"):
            await put(one, key)
        assert await keys_of(one) == ["/a", "/m/store", "b/a"]
        assert await keys_of(other) == []
        start = (await other.status()).revision
        async with other.watch(EVERYTHING, after=start) as items:
            await one.transact([], [Delete(EVERYTHING)])
            revision = await put(other, "/a")
            assert (await next_revision(items)).revision == revision
        assert await keys_of(other) == ["/a"]


async def test_all_who_open_a_store_at_once_find_the_same_one(etcd: Member, prefix: str) -> None:
    async def identity() -> str:
        async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
            return (await store.status()).uuid

    assert len(set(await asyncio.gather(*(identity() for _ in range(10))))) == 1


async def test_leases_last_whole_seconds(store: EtcdStore) -> None:
    for asked, granted in ((0.2, 1), (1.0, 1), (1.1, 2), (599.5, 600)):
        lease = await store.grant(asked)
        assert (await store.lease(lease)).ttl == await store.keep_alive(lease) == granted
        assert lease < 1 << 53


async def test_a_store_that_is_told_to_compacts_its_history(etcd: Member, prefix: str) -> None:
    retention = Retention(age=0.2, revisions=5)
    async with EtcdStore([etcd.endpoint], prefix=prefix, retention=retention) as store:
        start = (await store.status()).revision
        async with store.watch(EVERYTHING, after=start) as items, asyncio.timeout(10):
            for n in range(20):
                await put(store, f"/{n}")
                await next_revision(items)
            while (await store.status()).compacted < start + 10:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await store.status()).compacted <= start + 15


async def test_more_operations_than_etcd_takes_are_invalid(prefix: str) -> None:
    with running_etcd() as etcd:
        async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
            await store.transact([], [Put(f"/{n}", b"") for n in range(128)])
            with pytest.raises(InvalidInput) as caught:
                await store.transact([], [Put(f"/{n}", b"") for n in range(129)])
            assert "--max-txn-ops" in str(caught.value.hint)
            with pytest.raises(InvalidInput) as caught:
                await put(store, "/a", bytes(2 << 20))
            assert "--max-request-bytes" in str(caught.value.hint)


async def _fill(store: Store) -> None:
    for n in itertools.count():
        await put(store, f"/{n % 2}", bytes(200_000))


async def test_a_full_etcd_says_so_and_can_be_read(prefix: str) -> None:
    with running_etcd(arguments=["--quota-backend-bytes", str(2 << 20)]) as etcd:
        async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
            await put(store, "/a", b"kept")
            with pytest.raises(MirenError):  # it happens, or not: etcd says the same of both
                await _fill(store)
            with pytest.raises(StoreFull):
                await put(store, "/b")
            status = await store.status()
            assert [alarm.split()[0] for alarm in status.alarms] == ["NOSPACE"]
            assert status.size > 1 << 20
            assert status.backend == "etcd"
            found = await store.get("/a")
            assert found is not None
            assert found.value == b"kept"
            await store.compact(status.revision)
            before = status.size
            await store.defragment()
            etcd.control("alarm", "disarm")
            status = await store.status()
            assert status.size < before
            assert status.alarms == ()
            await put(store, "/a")


async def test_a_snapshot_is_one_that_etcd_can_restore(
    store: EtcdStore, tmp_path: Path, etcd: Member, prefix: str
) -> None:
    await store.transact([], [Put(f"/{n}", bytes(5000)) for n in range(100)])
    revision = (await store.status()).revision
    path = tmp_path / "snapshot.db"
    await store.snapshot(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    told = json.loads(etcd.control("snapshot", "status", str(path), "-w", "json"))
    assert told["revision"] == revision
    with pytest.raises(Refused):
        await store.snapshot(path)
    assert list(tmp_path.iterdir()) == [path]
    restored = tmp_path / "restored"
    etcd.control("snapshot", "restore", str(path), "--data-dir", str(restored))
    assert (restored / "member").is_dir()


async def test_a_snapshot_that_etcd_does_not_finish_leaves_nothing(
    prefix: str, tmp_path: Path
) -> None:
    with running_etcd(arguments=LARGE) as etcd:
        async with EtcdStore([etcd.endpoint], prefix=prefix, timeout=4.0) as store:
            await store.transact([], [Put(f"/{n}", bytes(500_000)) for n in range(40)])
            taking = asyncio.create_task(store.snapshot(tmp_path / "snapshot.db"))
            async with asyncio.timeout(10):
                while not _written(tmp_path):  # noqa: ASYNC110
                    await asyncio.sleep(0)
            etcd.kill()
            with pytest.raises(Unavailable):
                await taking
    assert list(tmp_path.iterdir()) == []


def _written(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


async def test_calls_under_way_when_the_store_is_closed_come_to_an_end(
    etcd: Member, prefix: str
) -> None:
    async with EtcdStore([etcd.endpoint], prefix=prefix) as store:
        calls = [asyncio.create_task(put(store, f"/{n}")) for n in range(50)]
        calls += [asyncio.create_task(_revision(store)) for n in range(50)]
        await asyncio.sleep(0)
    done, left = await asyncio.wait(calls, timeout=5)
    assert not left
    for call in done:
        error = call.exception()
        assert error is None or isinstance(error, Unavailable | OutcomeUnknown), error


async def _revision(store: Store) -> int:
    return (await store.list(EVERYTHING)).revision


async def test_no_etcd_is_unavailable_within_the_timeout(tmp_path: Path) -> None:
    clock = asyncio.get_running_loop()
    started = clock.time()
    with pytest.raises(Unavailable):
        async with EtcdStore([f"unix://{tmp_path}/nothing"], timeout=0.3):
            pass
    assert clock.time() - started < 2


def test_what_is_no_endpoint_is_invalid_at_once() -> None:
    for endpoints in ([], ["etcd:2379"], ["http://"]):
        with pytest.raises(InvalidInput):
            EtcdStore(endpoints)

"""The client while etcd dies, stops, fills up and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from miren.base.errors import MirenError, OutcomeUnknown, StoreFull, Unavailable
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.messages import message
from tests.etcd import TOGETHER, Member, running_cluster, running_etcd

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def etcd() -> Iterator[Member]:
    with running_etcd() as member:
        yield member


@pytest.fixture
def two() -> Iterator[tuple[Member, Member]]:
    """Two that know nothing of each other: which one answered shows in what is there."""
    with ExitStack() as stack:
        yield stack.enter_context(running_etcd()), stack.enter_context(running_etcd())


def put(key: bytes, value: bytes = b"") -> Any:
    return message("PutRequest")(key=key, value=value)


def get(key: bytes, **fields: Any) -> Any:
    return message("RangeRequest")(key=key, **fields)


def now() -> float:
    return asyncio.get_running_loop().time()


async def outcome(call: Any) -> type[MirenError] | None:
    try:
        await call
    except MirenError as error:
        return type(error)
    return None


async def test_where_there_is_no_etcd_every_endpoint_is_told_of() -> None:
    started = now()
    with pytest.raises(Unavailable) as caught:
        async with Client(endpoints=[NOWHERE, "http://127.0.0.1:2"], timeout=0.5):
            pass
    assert 0.4 < now() - started < 3
    assert "127.0.0.1:1: " in caught.value.message
    assert "127.0.0.1:2: " in caught.value.message
    assert "Connection refused" in caught.value.message


async def test_a_dead_endpoint_is_passed_over(etcd: Member) -> None:
    async with Client(endpoints=[NOWHERE, etcd.endpoint]) as client:
        await client.put(put(b"a"))


async def test_a_write_that_got_no_answer_is_unknown_and_a_read_unavailable(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint], timeout=0.3) as client:
        etcd.pause()
        try:
            started = now()
            assert await outcome(client.put(put(b"a"))) is OutcomeUnknown
            assert await outcome(client.range(get(b"a"))) is Unavailable
            assert await outcome(client.lease_grant(5)) is OutcomeUnknown
            assert await outcome(client.lease_keep_alive(5)) is Unavailable
            assert now() - started < 3
        finally:
            etcd.resume()


async def test_a_read_goes_to_another_endpoint_and_a_write_that_was_sent_does_not(
    two: tuple[Member, Member],
) -> None:
    first, second = two
    async with Client(endpoints=[first.endpoint, second.endpoint], timeout=2) as client:
        await client.put(put(b"a", b"first"))
        first.pause()
        try:
            assert (await client.range(get(b"a"))).kvs == []
        finally:
            first.resume()
    await first.until_ready()
    async with Client(endpoints=[first.endpoint, second.endpoint], timeout=1) as client:
        first.pause()
        try:
            assert await outcome(client.put(put(b"b", b"sent"))) is OutcomeUnknown
            await client.put(put(b"c", b"moved"))
        finally:
            first.resume()
    async with Client(endpoints=[second.endpoint]) as client:
        there = await client.range(get(b"\0", range_end=b"\0"))
        assert [kv.key for kv in there.kvs] == [b"c"]


async def test_writes_go_on_at_another_endpoint_when_one_is_killed(
    two: tuple[Member, Member],
) -> None:
    first, second = two
    ended: list[type[MirenError] | None] = []
    async with Client(endpoints=[first.endpoint, second.endpoint]) as client:

        async def write(worker: int) -> None:
            for n in range(200):
                ended.append(await outcome(client.put(put(b"%d/%d" % (worker, n)))))
                if len(ended) == 500:
                    first.kill()

        await asyncio.gather(*(write(worker) for worker in range(16)))
    assert set(ended) <= {None, OutcomeUnknown}
    assert ended.count(OutcomeUnknown) <= 16
    async with Client(endpoints=[second.endpoint]) as client:
        there = await client.range(get(b"\0", range_end=b"\0", count_only=True))
        assert there.count > 2000


async def test_the_client_comes_back_when_its_only_etcd_does(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint], timeout=10) as client:
        await client.put(put(b"a", b"kept"))
        for _ in range(2):
            etcd.kill()
            waiting = asyncio.create_task(client.range(get(b"a")))
            etcd.start()
            assert (await waiting).kvs[0].value == b"kept"


async def test_a_write_without_a_connection_is_surely_not_sent(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint], timeout=0.5) as client:
        etcd.kill()
        # The loss is noticed by whichever call comes first; the next one finds no connection.
        await outcome(client.range(get(b"a")))
        assert await outcome(client.put(put(b"a"))) is Unavailable


async def test_a_cancelled_call_is_cancelled_and_the_next_one_works(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        etcd.pause()
        calls = [
            asyncio.create_task(client.put(put(b"a"))),
            asyncio.create_task(client.range(get(b"a"))),
            asyncio.create_task(client.lease_keep_alive(1)),
        ]
        await asyncio.wait(calls, timeout=0.05)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
        etcd.resume()
        await client.put(put(b"b"))


async def test_closing_ends_calls_with_an_error_and_not_with_a_cancellation(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        async with client.watch() as call:
            etcd.pause()
            pending = [
                asyncio.create_task(outcome(each))
                for each in (client.put(put(b"a")), client.range(get(b"a")), anext(call))
            ]
            await asyncio.wait(pending, timeout=0.05)
            await client.__aexit__()
            assert await asyncio.gather(*pending) == [OutcomeUnknown, Unavailable, Unavailable]
        etcd.resume()


async def test_a_watch_on_which_nothing_happens_still_notices_that_etcd_stopped() -> None:
    with running_etcd(arguments=["--grpc-keepalive-min-time", "100ms"]) as etcd:
        async with (
            Client(endpoints=[etcd.endpoint], keepalive=0.3) as client,
            client.watch() as call,
        ):
            create = message("WatchCreateRequest")(key=b"a")
            await call.send(message("WatchRequest")(create_request=create))
            assert (await anext(call)).created
            # Long enough for more pings than grpc sends by default without any data.
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await asyncio.shield(asyncio.get_running_loop().create_future())
            etcd.pause()
            started = now()
            with pytest.raises(Unavailable):
                await anext(call)
            assert now() - started < 6
            etcd.resume()


async def test_a_member_without_a_leader_refuses_at_once_and_nothing_is_unknown() -> None:
    with running_cluster(timing=TOGETHER) as cluster:
        alone, *others = cluster.members
        async with Client(endpoints=[alone.endpoint], timeout=2) as client:
            await client.put(put(b"a"))
            for member in others:
                member.kill()

            # Until it notices, writes may still be proposed.
            async def refused() -> bool:
                return await outcome(client.put(put(b"b"))) is Unavailable

            async with asyncio.timeout(20):
                while not await refused():
                    pass
            with pytest.raises(Unavailable, match="no leader"):
                await client.put(put(b"c"))
        with pytest.raises(Unavailable, match="no leader"):
            async with Client(endpoints=[alone.endpoint], timeout=0.5):
                pass


async def test_what_a_full_etcd_took_nevertheless_is_never_told_as_refused() -> None:
    with running_etcd(arguments=["--quota-backend-bytes", "1000000"]) as etcd:
        async with Client(endpoints=[etcd.endpoint]) as client:
            told: dict[bytes, type[MirenError] | None] = {}

            async def fill(worker: int) -> None:
                for n in range(200):
                    key = b"%d/%d" % (worker, n)
                    told[key] = await outcome(client.put(put(key, bytes(8000))))
                    if told[key] is StoreFull:
                        return

            await asyncio.gather(*(fill(worker) for worker in range(32)))
            there = {kv.key for kv in (await client.range(get(b"\0", range_end=b"\0"))).kvs}
            assert set(told.values()) == {None, OutcomeUnknown, StoreFull}
            assert {key for key, how in told.items() if how is None} <= there
            assert not {key for key, how in told.items() if how is StoreFull} & there

            # A full etcd is read, and made room in.
            await client.delete_range(message("DeleteRangeRequest")(key=b"0/0"))
            delete = message("RequestOp")(request_delete_range={"key": b"0/1"})
            await client.txn(message("TxnRequest")(success=[delete]))
            with pytest.raises(StoreFull) as caught:
                await client.put(put(b"more"))
            assert "defragment" in (caught.value.hint or "")
        # Another client knows from the beginning.
        async with Client(endpoints=[etcd.endpoint]) as client:
            with pytest.raises(StoreFull):
                await client.lease_grant(5)
            there = await client.delete_range(
                message("DeleteRangeRequest")(key=b"\0", range_end=b"\0")
            )
            compaction = message("CompactionRequest")(
                revision=there.header.revision, physical=True
            )
            await client.compact(compaction)
            await client.defragment(etcd.endpoint)
            for alarm in await client.alarms():
                await client.disarm(alarm)
            await client.put(put(b"more"))

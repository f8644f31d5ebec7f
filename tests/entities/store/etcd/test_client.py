"""The client against one etcd that is well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from miren.base.errors import (
    AlreadyExists,
    Compacted,
    InvalidInput,
    MirenError,
    NotFound,
    Unavailable,
)
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.messages import message
from tests.etcd import Member, running_etcd


@pytest.fixture(scope="module")
def etcd() -> Iterator[Member]:
    with running_etcd() as member:
        yield member


def put(key: bytes, value: bytes = b"", **fields: Any) -> Any:
    return message("PutRequest")(key=key, value=value, **fields)


def get(key: bytes, **fields: Any) -> Any:
    return message("RangeRequest")(key=key, **fields)


def txn(*puts: Any) -> Any:
    operation = message("RequestOp")
    return message("TxnRequest")(success=[operation(request_put=each) for each in puts])


async def test_what_is_put_is_read(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        assert client.version >= (3, 4)
        written = await client.put(put(b"a", b"1"))
        read = await client.range(get(b"a"))
        assert [(kv.key, kv.value) for kv in read.kvs] == [(b"a", b"1")]
        assert read.kvs[0].mod_revision == written.header.revision
        gone = await client.delete_range(message("DeleteRangeRequest")(key=b"a", prev_kv=True))
        assert [kv.value for kv in gone.prev_kvs] == [b"1"]


async def test_a_transaction_tells_which_branch_ran(etcd: Member) -> None:
    operation, compare = message("RequestOp"), message("Compare")
    request = message("TxnRequest")(
        compare=[compare(key=b"new", target="CREATE", create_revision=0)],
        success=[operation(request_put=put(b"new", b"x"))],
        failure=[operation(request_range=get(b"new"))],
    )
    async with Client(endpoints=[etcd.endpoint]) as client:
        first, second = await client.txn(request), await client.txn(request)
    assert (first.succeeded, second.succeeded) == (True, False)
    assert second.responses[0].response_range.kvs[0].value == b"x"


async def test_a_lease_is_kept_alive_until_it_is_revoked(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        lease = await client.lease_grant(60)
        await client.put(put(b"leased", lease=lease.ID))
        assert await client.lease_keep_alive(lease.ID) == lease.TTL == 60
        assert list((await client.lease_time_to_live(lease.ID)).keys) == [b"leased"]
        await client.lease_revoke(lease.ID)
        assert await client.lease_keep_alive(lease.ID) == 0
        assert (await client.lease_time_to_live(lease.ID)).TTL == -1
        assert not (await client.range(get(b"leased"))).kvs


async def test_one_watch_call_carries_several_watches(etcd: Member) -> None:
    create = message("WatchCreateRequest")
    async with Client(endpoints=[etcd.endpoint]) as client, client.watch() as call:
        for name, id in ((b"one", 1), (b"two", 2)):
            request = create(key=name, watch_id=id)
            await call.send(message("WatchRequest")(create_request=request))
            assert (await anext(call)).created
        await client.put(put(b"two"))
        await client.put(put(b"one"))
        seen = [await anext(call), await anext(call)]
    assert [(each.watch_id, each.events[0].kv.key) for each in seen] == [(2, b"two"), (1, b"one")]


REFUSED: list[tuple[str, Callable[[Client], Any], type[MirenError]]] = [
    ("future", lambda client: client.range(get(b"a", revision=1 << 40)), InvalidInput),
    ("twice", lambda client: client.txn(txn(put(b"a"), put(b"a"))), InvalidInput),
    ("many", lambda client: client.txn(txn(*(put(b"%d" % n) for n in range(129)))), InvalidInput),
    ("large", lambda client: client.put(put(b"a", bytes(1_600_000))), InvalidInput),
    ("very large", lambda client: client.put(put(b"a", bytes(9_000_000))), InvalidInput),
    ("no key", lambda client: client.put(put(b"")), InvalidInput),
    ("no lease", lambda client: client.put(put(b"a", lease=77)), NotFound),
    ("ended", lambda client: client.lease_revoke(78), NotFound),
    ("long", lambda client: client.lease_grant(1 << 40), InvalidInput),
    (
        "compact the future",
        lambda client: client.compact(message("CompactionRequest")(revision=1 << 40)),
        InvalidInput,
    ),
]


@pytest.mark.parametrize(
    ("call", "kind"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
async def test_a_refusal_is_an_error_of_ours(
    etcd: Member, call: Callable[[Client], Any], kind: type[MirenError]
) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        before = (await client.range(get(b"a"))).header.revision
        with pytest.raises(MirenError) as caught:
            await call(client)
        assert type(caught.value) is kind
        assert etcd.endpoint in caught.value.message
        assert (await client.range(get(b"a"))).header.revision == before


async def test_history_that_is_compacted_and_a_lease_that_exists_are_told(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        old = (await client.put(put(b"h"))).header.revision
        new = (await client.put(put(b"h"))).header.revision
        await client.compact(message("CompactionRequest")(revision=new, physical=True))
        with pytest.raises(Compacted):
            await client.range(get(b"h", revision=old))
        await client.lease_grant(60, 4711)
        with pytest.raises(AlreadyExists):
            await client.lease_grant(60, 4711)


async def test_etcd_tells_of_itself(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint, "http://127.0.0.1:1"]) as client:
        well, down = await client.status()
        (member,) = await client.members()
        assert (well.problem, well.leader, well.member) == (None, member.id, member.id)
        assert 0 < well.size_in_use <= well.size
        assert well.version.startswith("3.")
        assert "127.0.0.1:1" in (down.problem or "")
        assert await client.alarms() == ()
        await client.defragment(etcd.endpoint)
        with pytest.raises(InvalidInput, match="none of etcd's endpoints"):
            await client.defragment("http://127.0.0.1:2")
        pieces = [piece async for piece in client.snapshot()]
    assert sum(map(len, pieces)) % 4096 == 32  # pages of the database, then their SHA-256 sum


async def test_a_large_answer_comes_whole(etcd: Member) -> None:
    value = bytes(1_000_000)
    async with Client(endpoints=[etcd.endpoint]) as client:
        for n in range(6):
            await client.put(put(b"large%d" % n, value))
        answer = await client.range(get(b"large", range_end=b"largf"))
    assert [len(kv.value) for kv in answer.kvs] == [len(value)] * 6


async def test_a_closed_client_sends_nothing(etcd: Member) -> None:
    async with Client(endpoints=[etcd.endpoint]) as client:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await client.put(put(b"a"))


def test_whoever_uses_no_etcd_loads_no_grpc() -> None:
    code = """
import sys
import miren.entities, miren.entities.store, miren.reconcile, miren.server.standalone
assert not {"grpc", "google.protobuf"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr

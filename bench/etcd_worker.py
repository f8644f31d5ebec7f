"""One side of the etcd rows, in a process of its own: our store, or grpc's bare stub.

    python -m bench.etcd_worker SIDE unix:///path/etcd.sock:0

Requests and answers are those of `peers.py`. The sides are `client`, `store` and `stub`, which
send the same, built from the same messages; and two that watch as well. Once somebody watches a
store, it is told of all that is written, with the values before, which costs CPU at every write.
So a store with one watch (`watched-store`) stands against a stub that has etcd tell it the same
(`watching-stub`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import grpc.aio

from bench.peers import IN_FLIGHT, KEYS, VALUE
from miren.entities.store.api import Compare, Get, KeyRange, Put, TransactionResult
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.rules import Transaction

EVERYTHING = KeyRange("\0", "\U0010ffff")


class Side(Protocol):
    async def put(self, key: str) -> None: ...

    async def swap(self, key: str, revision: int) -> int:
        """Write `key` if it was last written at `revision`, and return the new one."""
        ...


class OfStore:
    """Our store."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store

    async def put(self, key: str) -> None:
        await self._store.transact((), (Put(key, VALUE),))

    async def swap(self, key: str, revision: int) -> int:
        result = await self._store.transact(
            (Compare.unchanged(key, revision),), (Put(key, VALUE),), (Get(KeyRange.key(key)),)
        )
        assert result.succeeded
        return result.revision


class OfClient:
    """Our client, with what the store does to its operations and to the answers."""

    def __init__(self, client: Client, root: str) -> None:
        self._client = client
        self._space = KeySpace(root)

    async def put(self, key: str) -> None:
        transaction = Transaction.checked((), (Put(key, VALUE),), ())
        put = transaction.then[0]
        assert isinstance(put, Put)
        answer = await self._client.put(self._space.put(put))
        TransactionResult(True, answer.header.revision, ((),))

    async def swap(self, key: str, revision: int) -> int:
        transaction = Transaction.checked(
            (Compare.unchanged(key, revision),), (Put(key, VALUE),), (Get(KeyRange.key(key)),)
        )
        answer = await self._client.txn(self._space.transaction(transaction))
        result = self._space.result(transaction, answer)
        assert result.succeeded
        return result.revision


class OfStub:
    """Nothing but grpc and the messages."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._txn: Any = _method(channel, "Txn", "TxnRequest", "TxnResponse")
        self._put: Any = _method(channel, "Put", "PutRequest", "PutResponse")
        self._txn_request: Any = message("TxnRequest")
        self._put_request: Any = message("PutRequest")
        self._compare: Any = message("Compare")

    async def put(self, key: str) -> None:
        await self._put(self._put_request(key=key.encode(), value=VALUE), timeout=5)

    async def swap(self, key: str, revision: int) -> int:
        request, at = self._txn_request(), key.encode()
        compare = request.compare.add()
        compare.key, compare.mod_revision = at, revision
        compare.target, compare.result = self._compare.MOD, self._compare.EQUAL
        put = request.success.add().request_put
        put.key, put.value = at, VALUE
        request.failure.add().request_range.key = at
        answer = await self._txn(request, timeout=5)
        assert answer.succeeded
        return int(answer.header.revision)


def _method(channel: grpc.aio.Channel, name: str, request: str, response: str) -> Any:
    return channel.unary_unary(
        f"/etcdserverpb.KV/{name}",
        request_serializer=message(request).SerializeToString,
        response_deserializer=message(response).FromString,
    )


@asynccontextmanager
async def opened(side: str, endpoint: str) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        if side.endswith("store"):
            store = await stack.enter_async_context(EtcdStore([endpoint], prefix=f"/{side}"))
            if side == "watched-store":
                after = (await store.status()).revision
                items = await stack.enter_async_context(store.watch(EVERYTHING, after=after))
                stack.callback(asyncio.create_task(_read(items)).cancel)
            yield OfStore(store)
            return
        if side == "client":
            client = await stack.enter_async_context(Client(endpoints=[endpoint]))
            yield OfClient(client, "/client")
            return
        target = endpoint.replace("unix://", "unix:")
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))
        if side == "watching-stub":
            watching = asyncio.create_task(_watch(channel))
            stack.callback(watching.cancel)
        yield OfStub(channel)


async def _read(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass


async def _watch(channel: grpc.aio.Channel) -> None:
    watch: Any = channel.stream_stream(
        "/etcdserverpb.Watch/Watch",
        request_serializer=message("WatchRequest").SerializeToString,
        response_deserializer=message("WatchResponse").FromString,
    )
    call, request = watch(), message("WatchRequest")()
    create = request.create_request
    create.key, create.range_end, create.prev_kv = b"/watching-", b"/watching.", True
    await call.write(request)
    async for _ in call:
        pass


async def run(side: Side, root: str, operation: str, total: int, known: list[int]) -> None:
    async def work(who: int, rest: Iterator[int]) -> None:
        for number in rest:
            if operation == "put":
                await side.put(f"{root}/{number % KEYS}")
            else:
                known[who] = await side.swap(f"{root}/swapped/{who}", known[who])

    rest = iter(range(total))
    await asyncio.gather(*(work(who, rest) for who in range(IN_FLIGHT)))


async def main() -> None:
    name, endpoint = sys.argv[1:]
    async with opened(name, endpoint) as side:
        known = [0] * IN_FLIGHT
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            gc.collect()
            gc.disable()
            began, cpu = time.perf_counter(), time.process_time()
            await run(side, f"/{name}", request["operation"], request["count"], known)
            took, used = time.perf_counter() - began, time.process_time() - cpu
            gc.enable()
            sys.stdout.write(json.dumps({"seconds": took, "cpu": used}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())

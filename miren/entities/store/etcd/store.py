"""The store of a cluster: everything below a prefix in etcd.

Reads and writes are etcd's own; what etcd lacks is made here. It does not say how far it is
compacted, which `revisions` finds out; and its watches end with their connection, which `history`
and `watches` see to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from miren.base.errors import Compacted, InvalidInput, NotFound, Refused, Unavailable
from miren.entities.store.api import (
    Bookmark,
    Compare,
    Delete,
    Get,
    KeyRange,
    KeyValue,
    Lease,
    LeaseStatus,
    Operation,
    Page,
    Put,
    Revision,
    StoreStatus,
    TransactionResult,
)
from miren.entities.store.checks import (
    check_get,
    check_lease,
    check_list,
    check_number,
    check_seconds,
    check_ttl,
    check_watch,
)
from miren.entities.store.etcd.addresses import parse_addresses
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.history import EtcdHistory
from miren.entities.store.etcd.identity import identify
from miren.entities.store.etcd.mapping import NOTHING_READ, KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.revisions import Revisions
from miren.entities.store.etcd.snapshots import write_snapshot
from miren.entities.store.etcd.tls import TLS
from miren.entities.store.retention import Retention, retaining
from miren.entities.store.rules import (
    Transaction,
    check_compaction,
    check_revision,
    closed,
    ended,
    new_lease,
    rest_of,
)
from miren.entities.store.watching import Fanout

__all__ = ["EtcdStore"]

log = logging.getLogger(__name__)

#: Keys read at a time.
_PAGE = 500

_NO_AUTH = "etcd's authentication is off: the user is not asked for, and all may do all"

_COMPACTION = message("CompactionRequest")


@dataclass(frozen=True, slots=True)
class _Open:
    """What exists only while the store is open; `resources` closes it all."""

    client: Client
    revisions: Revisions
    history: EtcdHistory
    resources: AsyncExitStack


class EtcdStore:
    """A Store in the etcd cluster at `endpoints`, below `prefix`.

    One cluster can hold several stores, if no prefix lies below another. Revisions are the
    cluster's, so those of other stores lie in between, and a compaction is everybody's. `timeout`
    is how long one call to etcd may take, in seconds; `silence` how long nothing may be heard of
    the store before it is made sure that there is nothing to hear. With `retention` the store
    compacts the cluster; otherwise somebody else has to, such as etcd's own auto-compaction.

    etcd takes 128 operations in a transaction and 1.5 MiB in a request unless it is configured
    for more; beyond that `transact` raises InvalidInput. Leases last whole seconds.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        prefix: str = "/miren",
        tls: TLS | None = None,
        user: tuple[str, str] | None = None,
        timeout: float = 5.0,
        silence: float = 60.0,
        retention: Retention | None = None,
    ) -> None:
        check_seconds("timeout", timeout)
        check_seconds("silence", silence)
        self._space = KeySpace(prefix)
        known = tuple(address.text for address in parse_addresses(endpoints))
        self._connect = partial(Client, endpoints=known, tls=tls, user=user, timeout=timeout)
        self._connect()  # raises for endpoints that the certificates are not for
        self._timeout = timeout
        self._silence = silence
        self._retention = retention
        self._open: _Open | None = None

    async def __aenter__(self) -> Self:
        if self._open:
            raise Refused("the store is open already", hint="share the one that is open")
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._connect())
            uuid, newest = await identify(client, self._space)
            revisions = Revisions(client, self._space, uuid=uuid, newest=newest)
            history = EtcdHistory(
                client, self._space, revisions, silence=self._silence, timeout=self._timeout
            )
            following = asyncio.create_task(history.run(), name="etcd history")
            stack.push_async_callback(_stop, following)
            following.add_done_callback(lambda task: _report(task, history.fanout, revisions))
            stack.callback(history.fanout.close)
            if self._retention:
                watched = history.fanout.oldest_position
                await stack.enter_async_context(retaining(self, self._retention, watched=watched))
            self._open = _Open(client, revisions, history, stack.pop_all())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        opened, self._open = self._open, None
        if opened:
            await opened.resources.aclose()

    async def get(self, key: str, *, revision: int = 0) -> KeyValue | None:
        """Keep the contract of `Store.get`."""
        opened = self._opened()
        check_get(key, revision)
        answer = await _read(opened, self._space.read(KeyRange.key(key), revision=revision))
        return self._space.item(answer.kvs[0]) if answer.kvs else None

    async def list(
        self,
        range: KeyRange,
        *,
        revision: int = 0,
        limit: int = 0,
        after: str | None = None,
        keys_only: bool = False,
    ) -> Page:
        """Keep the contract of `Store.list`, however many requests that takes."""
        opened = self._opened()
        check_list(range, revision, limit=limit, after=after)
        items: list[KeyValue] = []
        rest, at = rest_of(range, after), revision
        while True:
            size = min(_PAGE, limit - len(items)) if limit else _PAGE
            request = self._space.read(rest, revision=at, limit=size, keys_only=keys_only)
            answer = await _read(opened, request)
            at = at or answer.header.revision
            items += self._space.items(answer.kvs)
            if not answer.more or len(items) == limit:
                return Page(tuple(items), at, answer.more)
            rest = rest_of(rest, items[-1].key)

    async def transact(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
    ) -> TransactionResult:
        """Keep the contract of `Store.transact`."""
        opened = self._opened()
        transaction = Transaction.checked(compares, then, otherwise)
        if not compares and len(then) == 1 and isinstance(then[0], Put):
            # etcd makes less of this than of a transaction.
            answer = await opened.client.put(self._space.put(then[0]))
            revision = opened.revisions.wrote(answer.header.revision)
            return TransactionResult(True, revision, NOTHING_READ)
        only_reads = all(map(_is_read, (*then, *otherwise)))
        answer = await opened.client.txn(self._space.transaction(transaction), read=only_reads)
        result = self._space.result(transaction, answer)
        if _has_changed(transaction, result):
            opened.revisions.wrote(result.revision)
        else:
            opened.revisions.saw(result.revision)
        return result

    def watch(
        self, range: KeyRange, *, after: int
    ) -> AbstractAsyncContextManager[AsyncIterator[Revision | Bookmark]]:
        """Keep the contract of `Store.watch`."""
        history = self._opened().history
        check_watch(range, after)
        return history.watch(range, after=after)

    async def grant(self, ttl: float) -> Lease:
        """Keep the contract of `Store.grant`."""
        opened = self._opened()
        check_ttl(ttl)
        # Named here, because what etcd chooses does not fit into a JSON number.
        answer = await opened.client.lease_grant(math.ceil(ttl), new_lease())
        return Lease(answer.ID)

    async def keep_alive(self, lease: Lease) -> float:
        """Keep the contract of `Store.keep_alive`."""
        check_lease(lease)
        ttl = await self._opened().client.lease_keep_alive(lease)
        if not ttl:
            raise ended(lease)
        return float(ttl)

    async def revoke(self, lease: Lease) -> None:
        """Keep the contract of `Store.revoke`."""
        check_lease(lease)
        try:
            await self._opened().client.lease_revoke(lease)
        except NotFound as error:
            raise ended(lease) from error

    async def lease(self, lease: Lease) -> LeaseStatus:
        """Keep the contract of `Store.lease`. What remains is told in whole seconds."""
        check_lease(lease)
        answer = await self._opened().client.lease_time_to_live(lease)
        if answer.TTL < 0:
            raise ended(lease)
        names = filter(None, map(self._space.name, answer.keys))
        return LeaseStatus(float(answer.grantedTTL), float(answer.TTL), tuple(sorted(names)))

    async def compact(self, revision: int) -> None:
        """Keep the contract of `Store.compact`, for all that the cluster holds.

        Raises Unavailable when this store's own watch is so late that it would lose something.
        """
        opened = self._opened()
        check_number(revision)
        revisions = opened.revisions
        await opened.history.take_up()
        if revision > revisions.newest:
            await revisions.read_revision()
        check_compaction(revision, newest=revisions.newest)
        if revision <= revisions.compacted:
            return
        await opened.history.reach(revision)
        # That it is compacted already is fine.
        with contextlib.suppress(Compacted):
            await opened.client.compact(_COMPACTION(revision=revision))
        revisions.compacted = max(revisions.compacted, revision)

    async def status(self) -> StoreStatus:
        """Keep the contract of `Store.status`.

        `size` is that of the member in use, with everything the cluster holds.
        """
        opened = self._opened()
        client, revisions = opened.client, opened.revisions
        condition = await client.condition()
        alarms = await client.alarms() if condition.errors else ()
        await opened.history.take_up()
        compacted = await revisions.find_compacted()
        uuid, revision = await identify(client, self._space)
        return StoreStatus(
            uuid,
            revisions.saw(revision),
            compacted,
            backend="etcd",
            size=condition.size,
            alarms=(
                *([_NO_AUTH] if client.is_user_ignored else []),
                *(
                    [f"{alarm.kind} at member {alarm.member:x}" for alarm in alarms]
                    or condition.errors
                ),
            ),
        )

    async def snapshot(self, path: Path) -> None:
        """Keep the contract of `Store.snapshot`, for all that the cluster holds."""
        await write_snapshot(self._opened().client, path)

    async def defragment(self) -> None:
        """Keep the contract of `Store.defragment`, one member after the other."""
        client = self._opened().client
        for member in await client.status():
            if member.problem is None:
                await client.defragment(member.endpoint)
            else:
                log.warning("not defragmented", extra={"reason": member.problem})
        # There may be room again; where there is none, etcd raises the alarm again.
        for alarm in await client.alarms():
            if alarm.kind == "NOSPACE":
                await client.disarm(alarm)

    def _opened(self) -> _Open:
        if self._open is None:
            raise closed()
        return self._open


async def _read(opened: _Open, request: Any) -> Any:
    try:
        answer = await opened.client.range(request)
    except InvalidInput:
        # etcd refuses a revision of the future without saying which the newest is.
        newest = await opened.revisions.read_revision()
        check_revision(request.revision, newest=newest, compacted=0)
        raise
    except Compacted as error:
        await opened.history.take_up()
        raise Compacted(
            f"revision {request.revision} is no longer kept",
            oldest=await opened.revisions.find_compacted(),
        ) from error
    opened.revisions.saw(answer.header.revision)
    return answer


def _is_read(operation: Operation) -> bool:
    return isinstance(operation, Get)


def _has_changed(transaction: Transaction, result: TransactionResult) -> bool:
    """Return whether a transaction changed anything."""
    branch = transaction.then if result.succeeded else transaction.otherwise
    for operation, read in zip(branch, result.reads, strict=True):
        if isinstance(operation, Put) or (isinstance(operation, Delete) and read):
            return True
    return False


async def _stop(following: asyncio.Task[None]) -> None:
    following.cancel()
    await asyncio.wait([following])


def _report(following: asyncio.Task[None], fanout: Fanout, revisions: Revisions) -> None:
    """End the watches when what feeds them ended by itself, which only a mistake of ours does."""
    error = None if following.cancelled() else following.exception()
    if error:
        log.error("nothing is watched any more", exc_info=error)
        reason = Unavailable("the store's watch has failed", hint="open the store again")
        fanout.reset(reason, published=revisions.newest)

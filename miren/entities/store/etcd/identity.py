"""Which store this is: a UUID under a key of its own, made by whoever opens the store first.

It tells one history from another, so whoever puts an older state in etcd's place (a snapshot
restored, a prefix emptied) has to renew it: revisions that watches know mean something else now.
"""

from __future__ import annotations

from miren.base.ids import new_uid
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message

__all__ = ["identify", "renew"]

_RANGE, _PUT, _TXN = message("RangeRequest"), message("PutRequest"), message("TxnRequest")


async def identify(client: Client, space: KeySpace) -> tuple[str, int]:
    """Return the store's UUID, giving it one if it has none, and the newest revision."""
    while True:
        found = await client.range(_RANGE(key=space.identity))
        if found.kvs:
            return found.kvs[0].value.decode(), found.header.revision
        request = _TXN()
        absent = request.compare.add()
        absent.key, absent.target, absent.create_revision = space.identity, "CREATE", 0
        put = request.success.add().request_put
        put.key, put.value = space.identity, new_uid().encode()
        # Read again, for another may have been faster.
        await client.txn(request)


async def renew(client: Client, space: KeySpace) -> str:
    """Give the store a new UUID and return it. Every watch of it ends with StoreReset."""
    uuid = new_uid()
    await client.put(_PUT(key=space.identity, value=uuid.encode()))
    return uuid

"""What etcd sends, as whole revisions: the cases that no real etcd can be made to send at will."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from miren.base.errors import Compacted
from miren.entities.store.etcd.client import Client
from miren.entities.store.etcd.mapping import KeySpace
from miren.entities.store.etcd.messages import message
from miren.entities.store.etcd.watches import Batch, Watches, WatchStream

SPACE = KeySpace("/miren")


async def _history_is_the_same() -> None:
    pass


@pytest.fixture
def stream() -> WatchStream:
    """Return a watch of what comes after revision 8, on no connection."""
    client = Client(endpoints=["http://localhost:1"])
    return Watches(client, SPACE, confirm=_history_is_the_same, timeout=1.0).open(after=8, limit=2)


def response(*changes: tuple[str, int], fragment: bool = False, previous: bool = True) -> Any:
    """Make a response about a store that is at revision 1000, with puts of keys that exist."""
    events = []
    for key, revision in changes:
        kv = {"key": SPACE.key(key), "create_revision": 2, "mod_revision": revision, "version": 5}
        before = {"prev_kv": {**kv, "mod_revision": 3, "version": 4}} if previous else {}
        events.append({"kv": kv, **before})
    return message("WatchResponse")(header={"revision": 1000}, events=events, fragment=fragment)


async def taken(stream: WatchStream) -> Batch:
    async with asyncio.timeout(1):
        return await stream.next()


def keys(batch: Batch) -> list[tuple[int, list[str]]]:
    return [(each.revision, [event.key for event in each.events]) for each in batch.revisions]


async def test_fragments_are_one_response(stream: WatchStream) -> None:
    stream.take(response(("/a", 9), ("/b", 10), fragment=True))
    assert stream.position == 8
    stream.take(response(("/a", 10), ("/a", 12)))
    assert keys(await taken(stream)) == [(9, ["/a"]), (10, ["/a", "/b"]), (12, ["/a"])]
    assert stream.position == 12


async def test_what_came_in_part_before_the_call_broke_is_forgotten(stream: WatchStream) -> None:
    stream.take(response(("/a", 9), ("/b", 9), fragment=True))
    stream.begin()
    stream.take(response(("/a", 9), ("/b", 9), ("/c", 9)))
    assert keys(await taken(stream)) == [(9, ["/a", "/b", "/c"])]


async def test_what_came_before_or_was_not_asked_for_is_left_out(stream: WatchStream) -> None:
    stream.take(response(("/a", 8), ("/b", 9)))
    stream.take(response(("/b", 9)))
    stream.take(response(("/b", 9), ("/c", 10)))
    assert keys(await taken(stream)) == [(9, ["/b"])]
    assert keys(await taken(stream)) == [(10, ["/c"])]


async def test_only_what_is_made_at_the_time_is_no_backlog(stream: WatchStream) -> None:
    stream.take(response(("/a", 9)))
    stream.take(response(("/a", 10)))
    assert (await taken(stream)).is_backlog
    assert not (await taken(stream)).is_backlog
    stream.take(response(("/a", 11), ("/a", 12)))
    assert (await taken(stream)).is_backlog
    stream.begin()
    stream.take(response(("/a", 13)))
    assert (await taken(stream)).is_backlog


async def test_a_value_left_out_ends_the_watch_after_what_came_before(stream: WatchStream) -> None:
    stream.take(response(("/a", 9)))
    stream.take(response(("/a", 10), previous=False))
    assert keys(await taken(stream)) == [(9, ["/a"])]
    for _ in range(2):
        with pytest.raises(Compacted):
            await taken(stream)


async def test_a_watch_that_nobody_reads_is_paused_and_goes_on_where_it_was(
    stream: WatchStream,
) -> None:
    first = stream.id
    stream.take(response(("/a", 9)))
    stream.take(response(("/a", 10)))
    assert (stream.is_paused, stream.id == first) == (True, True)
    for revision in (9, 10):
        assert keys(await taken(stream)) == [(revision, ["/a"])]
    reading = asyncio.create_task(taken(stream))
    await asyncio.sleep(0)
    assert (stream.is_paused, stream.id == first) == (False, False)
    stream.take(response(("/a", 11)))
    assert keys(await reading) == [(11, ["/a"])]

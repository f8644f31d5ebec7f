"""The fan-out over a history that a test controls: what no backend's timing shows at will."""

from __future__ import annotations

from collections.abc import Sequence

from miren.entities.store.api import Bookmark, KeyRange, KeyValue, Revision, StoreEvent
from miren.entities.store.watching import Fanout
from tests.contracts.store_reading import EVERYTHING
from tests.contracts.store_watching import next_item, until_revision


class RecordedHistory:
    """A history in a list, which counts how often it is replayed."""

    def __init__(self) -> None:
        self.revisions: list[Revision] = []
        self.replays = 0

    def bounds(self) -> tuple[int, int]:
        return len(self.revisions), 0

    def replay(self, range: KeyRange, *, after: int, through: int) -> Sequence[Revision]:
        self.replays += 1
        return self.revisions[after:through]

    def commit(self) -> Revision:
        number = len(self.revisions) + 1
        current = KeyValue("/a", b"", 1, number, number)
        self.revisions.append(Revision(number, (StoreEvent("/a", current, None),)))
        return self.revisions[-1]


async def test_a_revision_that_a_list_showed_before_it_was_published_is_not_repeated() -> None:
    history = RecordedHistory()
    fanout = Fanout(history)
    listed, later = history.commit(), history.commit()
    async with fanout.watch(EVERYTHING, after=listed.revision) as items:
        assert await next_item(items) == Bookmark(listed.revision)
        for revision in (listed, later):
            fanout.publish(revision.revision, revision.events)
        assert await next_item(items) == later


async def test_a_reader_that_keeps_up_never_goes_back_to_the_history() -> None:
    history = RecordedHistory()
    fanout = Fanout(history)
    async with fanout.watch(EVERYTHING, after=0) as items:
        assert await next_item(items) == Bookmark(0)
        # It always has something unread, but never much.
        for number in range(3000):
            revision = history.commit()
            fanout.publish(revision.revision, revision.events)
            if number:
                assert await next_item(items) == history.revisions[number - 1]
    assert history.replays == 0


async def test_a_reader_that_does_not_read_holds_a_bounded_buffer() -> None:
    history = RecordedHistory()
    fanout = Fanout(history)
    async with fanout.watch(EVERYTHING, after=0) as items:
        assert await next_item(items) == Bookmark(0)
        for _ in range(3000):
            revision = history.commit()
            fanout.publish(revision.revision, revision.events)
        assert await until_revision(items, 3000) == history.revisions
        # What the buffer did not hold came from the history: most of it.
        assert history.replays >= 5

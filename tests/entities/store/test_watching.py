"""The fan-out over a history that a test controls: what no backend's timing shows at will."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miren.base.errors import Compacted, InvalidInput, MirenError, StoreReset, Unavailable
from miren.entities.store.api import Bookmark, KeyRange, KeyValue, Revision, StoreEvent
from miren.entities.store.watching import Fanout
from tests.contracts.store_reading import EVERYTHING
from tests.contracts.store_watching import next_item, until_revision
from tests.effort import tries

# A ring holds five of these; all are one object.
LARGE = bytes(1_400_000)


class RecordedHistory:
    """A history in a list, which counts its replays and takes its time for each.

    `revisions[i]` is revision i + 1; revision 1 changed nothing, as in every store.
    """

    def __init__(self) -> None:
        self.revisions: list[Revision] = [Revision(1, ())]
        self.compacted = 0
        self.replays = 0
        self.window = 256
        self.turns = 0

    @property
    def newest(self) -> int:
        return len(self.revisions)

    async def check(self, after: int) -> None:
        if not 0 <= after <= self.newest:
            raise InvalidInput("not made yet")

    async def replay(
        self, range: KeyRange, *, after: int, through: int
    ) -> tuple[Sequence[Revision], int]:
        assert 1 <= after < through <= self.newest
        self.replays += 1
        await turns(self.turns)
        if after < self.compacted:
            raise Compacted("gone", oldest=self.compacted)
        reached = min(through, after + self.window)
        found = self.touching(range, after=after, through=reached)
        await turns(self.turns)
        return found, reached

    def touching(self, range: KeyRange, *, after: int, through: int) -> list[Revision]:
        """Return what a watch of `range` delivers of the revisions in (after, through]."""
        found = []
        for revision in self.revisions[after:through]:
            events = tuple(event for event in revision.events if event.key in range)
            if events:
                found.append(Revision(revision.revision, events))
        return found

    def commit(self, *keys: str, value: bytes = b"") -> Revision:
        """Add a revision that puts `keys`."""
        number = self.newest + 1
        events = tuple(
            StoreEvent(key, KeyValue(key, value, number, number, 1), None) for key in sorted(keys)
        )
        self.revisions.append(Revision(number, events))
        return self.revisions[-1]


@pytest.fixture
def history() -> RecordedHistory:
    return RecordedHistory()


@pytest.fixture
def fanout(history: RecordedHistory) -> Fanout:
    return Fanout(history, published=history.newest)


def publish(fanout: Fanout, *revisions: Revision) -> None:
    for revision in revisions:
        fanout.publish(revision.revision, revision.events)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_revision_that_a_list_showed_before_it_was_published_is_not_repeated(
    history: RecordedHistory, fanout: Fanout
) -> None:
    listed, later = history.commit("/a"), history.commit("/a")
    async with fanout.watch(EVERYTHING, after=listed.revision) as items:
        assert await next_item(items) == Bookmark(listed.revision)
        publish(fanout, listed, later)
        assert await next_item(items) == later


async def test_a_reader_that_keeps_up_never_goes_back_to_the_history(
    history: RecordedHistory, fanout: Fanout
) -> None:
    async with fanout.watch(EVERYTHING, after=0) as items:
        assert await next_item(items) == Bookmark(1)
        # It always has something unread, but never much.
        for number in range(10_000):
            publish(fanout, history.commit("/a"))
            if number:
                assert await next_item(items) == history.revisions[number]
    assert history.replays == 0


async def test_a_reader_a_bit_behind_is_served_from_what_others_keep(
    history: RecordedHistory, fanout: Fanout
) -> None:
    async with fanout.watch(EVERYTHING, after=1):
        publish(fanout, *(history.commit("/a") for _ in range(1000)))
        async with fanout.watch(EVERYTHING, after=1) as late:
            assert await until_revision(late, 1001) == history.revisions[1:]
    assert history.replays == 0


async def test_what_one_range_delivers_is_matched_and_kept_once(
    history: RecordedHistory, fanout: Fanout
) -> None:
    some = KeyRange.prefix("/a")
    async with fanout.watch(some, after=1) as one, fanout.watch(some, after=1) as other:
        publish(fanout, history.commit("/a/1", "/b"))
        assert await next_item(one) is await next_item(other)


@pytest.mark.parametrize(("count", "value"), [(9000, b""), (40, LARGE)])
async def test_a_reader_that_does_not_read_is_not_waited_for(
    history: RecordedHistory, fanout: Fanout, count: int, value: bytes
) -> None:
    async with fanout.watch(EVERYTHING, after=1) as items:
        assert await next_item(items) == Bookmark(1)
        publish(fanout, *(history.commit("/a", value=value) for _ in range(count)))
        assert await until_revision(items, count + 1) == history.revisions[1:]
        # Most of it was not kept, and came from the history.
        assert history.replays >= min(count - 4096, 30 * 256) // 256
        assert await next_item(items) == Bookmark(count + 1)


async def test_a_revision_beyond_all_bounds_is_delivered(
    history: RecordedHistory, fanout: Fanout
) -> None:
    async with fanout.watch(EVERYTHING, after=1) as items:
        keys = [f"/{number}" for number in range(5000)]
        publish(fanout, history.commit(*keys), history.commit(*keys, value=LARGE))
        assert await until_revision(items, 3) == history.revisions[1:]


async def test_a_reader_that_fell_behind_is_not_told_of_lost_history_that_is_not_its_own(
    history: RecordedHistory, fanout: Fanout
) -> None:
    mine = KeyRange.prefix("/mine")
    async with fanout.watch(mine, after=1) as items, fanout.watch(mine, after=1) as fresh:
        publish(fanout, *(history.commit("/other") for _ in range(100)))
        history.compacted = history.newest
        wanted = [history.commit("/mine", value=LARGE) for _ in range(20)]
        publish(fanout, *wanted)
        for reader in (items, fresh):
            assert await until_revision(reader, history.newest) == wanted
        history.compacted += 21
        async with fanout.watch(mine, after=1) as late:
            for _ in range(2):
                with pytest.raises(Compacted):
                    await next_item(late)
            assert fanout.oldest_position() == history.newest


async def test_one_batch_of_revisions_wakes_a_reader_once(
    history: RecordedHistory, fanout: Fanout
) -> None:
    woken = 0

    async def follow(items: AsyncIterator[Revision | Bookmark]) -> None:
        nonlocal woken
        while True:
            reading = asyncio.ensure_future(anext(items))
            while not reading.done():
                await asyncio.sleep(0)
                woken += 1
            if reading.result().revision == 11:
                return

    async with fanout.watch(EVERYTHING, after=1) as items, asyncio.timeout(10):
        await next_item(items)
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(items))
            await turns()
            woken = 0
            publish(fanout, *(history.commit("/a") for _ in range(10)))
    assert woken < 25


async def test_the_oldest_position_is_where_the_slowest_watch_goes_on(
    history: RecordedHistory, fanout: Fanout
) -> None:
    assert fanout.oldest_position() is None
    publish(fanout, *(history.commit("/a") for _ in range(9)))
    async with fanout.watch(KeyRange.key("/b"), after=10):
        async with fanout.watch(EVERYTHING, after=4) as items:
            assert fanout.oldest_position() == 4
            history.window = 2
            await until_revision(items, 7)
            assert fanout.oldest_position() == 8  # it holds what it read from the history
            await until_revision(items, 10)
            publish(fanout, history.commit("/a"))
            assert fanout.oldest_position() == 10
        publish(fanout, history.commit("/c"))
        # Nothing in between is any of its business.
        assert fanout.oldest_position() == 12
    assert fanout.oldest_position() is None


async def test_no_bookmark_comes_before_what_was_known_when_the_watch_began(
    history: RecordedHistory, fanout: Fanout
) -> None:
    known = [history.commit("/a"), history.commit("/other"), history.commit("/other")]
    async with (
        fanout.watch(KeyRange.key("/a"), after=1, backlog=3) as items,
        fanout.watch(KeyRange.key("/a"), after=1) as other,
    ):
        assert await next_item(other) == Bookmark(1)
        publish(fanout, known[0])
        assert await next_item(items) == known[0]
        waiting = asyncio.ensure_future(next_item(items))
        await turns()
        assert not waiting.done()
        publish(fanout, known[2])  # whoever publishes may leave some out
        assert await waiting == Bookmark(4)


async def test_what_was_published_already_is_ignored(
    history: RecordedHistory, fanout: Fanout
) -> None:
    async with fanout.watch(EVERYTHING, after=1) as items:
        first, second = history.commit("/a"), history.commit("/b")
        publish(fanout, first, second, first)
        assert [await next_item(items) for _ in range(3)] == [first, second, Bookmark(3)]
        assert fanout.published == 3


async def test_a_reset_ends_every_watch_and_begins_anew(
    history: RecordedHistory, fanout: Fanout
) -> None:
    publish(fanout, *(history.commit("/a") for _ in range(9)))
    async with (
        fanout.watch(EVERYTHING, after=10) as waits,
        fanout.watch(EVERYTHING, after=2) as old,
    ):
        await next_item(waits)
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_error_of(waits))
            history.turns = 5
            replaying = group.create_task(_error_of(old))
            await turns(3)
            fanout.reset(StoreReset("another store"), published=3)
        for error in (waiting.result(), replaying.result(), await _error_of(old)):
            assert type(error) is StoreReset
        assert fanout.oldest_position() is None
        async with fanout.watch(EVERYTHING, after=3) as fresh:
            assert await next_item(fresh) == Bookmark(3)
            changed = Revision(4, history.revisions[3].events)
            publish(fanout, changed)
            assert await next_item(fresh) == changed
        with pytest.raises(InvalidInput):
            async with fanout.watch(EVERYTHING, after=11):
                pass


async def test_a_closed_fanout_ends_what_waits_and_refuses_new_watches(
    history: RecordedHistory, fanout: Fanout
) -> None:
    async with fanout.watch(EVERYTHING, after=1) as items, asyncio.timeout(10):
        await next_item(items)
        waiting = asyncio.ensure_future(_error_of(items))
        await turns()
        fanout.close()
        assert type(await waiting) is Unavailable
    with pytest.raises(Unavailable):
        async with fanout.watch(EVERYTHING, after=1):
            pass


async def _error_of(items: AsyncIterator[Revision | Bookmark]) -> MirenError:
    with pytest.raises(MirenError) as caught:
        await next_item(items)
    return caught.value


# -- Random interleavings against the list of revisions ----------------------------------------

RANGES = (EVERYTHING, KeyRange.key("/a"), KeyRange.prefix("/a"), KeyRange("/b", "/b"))
KEYS = ("/a", "/a/b", "/b", "/c")


@dataclass
class Reader:
    """A watch, and all that it has delivered."""

    range: KeyRange
    position: int
    items: AsyncIterator[Revision | Bookmark]
    stack: AsyncExitStack
    backlog: int
    task: asyncio.Task[Revision | Bookmark] | None = None
    bookmarks: int = 0
    is_over: bool = False


@dataclass
class Run:
    """A fan-out, its history, and the readers that are open."""

    history: RecordedHistory = field(default_factory=RecordedHistory)
    readers: list[Reader] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fanout = Fanout(self.history, published=1)

    # Every step is what the store does between two awaits, or what one task does until it waits.

    async def commit(self, sizes: Sequence[tuple[Sequence[str], bool]], publish: bool) -> None:
        for keys, is_large in sizes:
            self.history.commit(*keys, value=LARGE if is_large else b"")
        if publish:
            self.publish()

    def publish(self) -> None:
        for revision in self.history.revisions[self.fanout.published :]:
            # A cluster's other users make revisions that are never published.
            if revision.events or revision.revision % 3:
                self.fanout.publish(revision.revision, revision.events)
        self.fanout.publish(self.history.newest, ())

    async def open(self, which: int, back: int, knows: bool) -> None:
        range, after = RANGES[which], max(0, self.history.newest - back)
        backlog = self.history.newest if knows else 0
        stack = AsyncExitStack()
        watch = self.fanout.watch(range, after=after, backlog=backlog)
        items = await stack.enter_async_context(watch)
        self.readers.append(Reader(range, max(after, 1), items, stack, backlog))

    async def read(self, which: int, count: int, patience: int) -> None:
        """Read so many items, and stop waiting for one after a few turns of the loop."""
        if not self.readers:
            return
        reader = self.readers[which % len(self.readers)]
        for _ in range(count):
            if not await self.read_one(reader, patience):
                return

    async def begin(self, which: int) -> None:
        """Let a reader wait in the background."""
        if self.readers:
            reader = self.readers[which % len(self.readers)]
            if reader.task is None and not reader.is_over:
                reader.task = asyncio.ensure_future(anext(reader.items))

    async def read_one(self, reader: Reader, patience: int) -> bool:
        if reader.is_over:
            return False
        task, reader.task = reader.task or asyncio.ensure_future(anext(reader.items)), None
        for _ in range(patience):
            if task.done():
                break
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if task.cancelled():
            return False
        error = task.exception()
        if error is None:
            self.check(reader, task.result())
            return True
        assert isinstance(error, Compacted)
        assert reader.position < self.history.compacted
        reader.is_over = True
        return False

    def check(self, reader: Reader, item: Revision | Bookmark) -> None:
        expected = self.missed(reader, through=item.revision)
        if isinstance(item, Bookmark):
            assert not expected
            assert item.revision >= max(reader.position, reader.backlog)
            reader.bookmarks += 1
        else:
            assert [item] == expected
        reader.position = item.revision

    def missed(self, reader: Reader, *, through: int) -> list[Revision]:
        return self.history.touching(reader.range, after=reader.position, through=through)

    async def compact(self, back: int) -> None:
        self.history.compacted = max(self.history.compacted, self.history.newest - back)

    async def pace(self, window: int, turns: int) -> None:
        self.history.window, self.history.turns = window, turns

    async def close(self, which: int) -> None:
        if self.readers:
            await self.end(self.readers.pop(which % len(self.readers)))

    async def end(self, reader: Reader) -> None:
        if reader.task:
            reader.task.cancel()
            await asyncio.wait([reader.task])
        await reader.stack.aclose()

    async def turn(self, count: int) -> None:
        await turns(count)

    async def finish(self) -> None:
        """All that is committed reaches every reader, and they hear of what comes after."""
        self.publish()
        self.history.turns = 0
        for reader in self.readers:
            while await self.read_one(reader, 100):
                pass
        left = [reader for reader in self.readers if not reader.is_over]
        for reader in left:
            assert self.missed(reader, through=self.history.newest) == []
            assert reader.bookmarks
        assert self.fanout.oldest_position() == (self.history.newest if left else None)
        for keys, count in ((("/a",), 1), ((), 50)):
            for reader in left:
                reader.task = reader.task or asyncio.ensure_future(anext(reader.items))
            await turns()
            first = self.history.newest + 1
            await self.commit([(keys, False)] * count, publish=True)
            await turns()
            for reader in left:
                if not keys or keys[0] in reader.range:
                    assert reader.task
                    assert reader.task.done()
                    assert await self.read_one(reader, 0)
                    assert reader.position >= first
        for reader in self.readers:
            await self.end(reader)
        assert self.fanout.oldest_position() is None


small = st.integers(0, 3)
revisions = st.lists(
    st.tuples(st.lists(st.sampled_from(KEYS), max_size=2, unique=True), st.booleans()),
    min_size=1,
    max_size=7,
)
Step = Callable[[Run], Coroutine[None, None, None]]
steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(lambda sizes, now: lambda run: run.commit(sizes, now), revisions, st.booleans()),
    st.builds(
        lambda which, back, knows: lambda run: run.open(which, back, knows),
        small,
        st.integers(0, 12),
        st.booleans(),
    ),
    st.builds(
        lambda which, count, patience: lambda run: run.read(which, count, patience),
        small,
        st.integers(1, 9),
        st.integers(1, 12),
    ),
    st.builds(lambda which: lambda run: run.begin(which), small),
    st.builds(lambda back: lambda run: run.compact(back), st.integers(0, 12)),
    st.builds(lambda window, wait: lambda run: run.pace(window, wait), st.integers(1, 4), small),
    st.builds(lambda which: lambda run: run.close(which), small),
    st.builds(lambda count: lambda run: run.turn(count), st.integers(1, 6)),
)


@settings(max_examples=tries(250, soak=20_000), deadline=None)
@given(st.lists(steps, min_size=1, max_size=25))
def test_however_it_interleaves_every_reader_gets_what_the_list_of_revisions_says(
    program: list[Step],
) -> None:
    async def play() -> None:
        run = Run()
        for step in program:
            await step(run)
        await run.finish()

    asyncio.run(play())

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest

from miren.base.errors import Compacted, MirenError, Refused, Unavailable
from miren.entities.store.api import Delete, Get, KeyRange, Put, Store
from miren.entities.store.copying import NotEmpty, is_half_filled
from miren.entities.store.etcd.store import EtcdStore
from miren.entities.store.holding import HeldStore
from miren.entities.store.memory import MemoryStore
from miren.entities.store.moving import Step, moving
from miren.entities.store.sqlite import SQLiteStore
from tests.entities.store.contents import ODD, fill, held_by
from tests.etcd import Member
from tests.stores import Around

Open = Callable[[str], AbstractAsyncContextManager[Store]]


@pytest.fixture
def opening(tmp_path: Path, shared_etcd: Member) -> Open:
    """Return what opens a new store of a backend."""
    count = itertools.count()

    def open(backend: str) -> AbstractAsyncContextManager[Store]:
        name = f"{tmp_path.name}-{next(count)}"
        match backend:
            case "memory":
                return MemoryStore()
            case "sqlite":
                return SQLiteStore(tmp_path / name)
        return EtcdStore([shared_etcd.endpoint], prefix=f"/{name}")

    return open


async def write(
    store: Store, rng: random.Random, *, begun: asyncio.Event, until: asyncio.Event
) -> dict[str, bytes]:
    """Change a store at random until then; return what it holds by what was acknowledged."""
    known: dict[str, bytes] = {}
    lease = await store.grant(600)
    for number in itertools.count():
        if until.is_set():
            return known
        if number == 50:
            begun.set()
        key, value = f"/w/{rng.randrange(40)}", str(number).encode()
        try:
            match rng.randrange(4):
                case 0:
                    await store.transact([], [Delete(KeyRange.key(key))])
                    known.pop(key, None)
                case 1:  # a key that comes to live by a lease is no part of a copy
                    await store.transact([], [Put(key, value, lease)])
                    known.pop(key, None)
                case _:
                    await store.transact([], [Put(key, value)])
                    known[key] = value
        except Unavailable:
            return known  # it has moved, and this was not done
        await asyncio.sleep(0)
    raise AssertionError


@pytest.mark.parametrize(
    ("one", "other"), [("sqlite", "etcd"), ("etcd", "sqlite"), ("memory", "sqlite")]
)
async def test_nothing_acknowledged_is_missing_in_the_new_store(
    one: str, other: str, opening: Open
) -> None:
    until, begun = asyncio.Event(), asyncio.Event()
    many = {f"/many/{number}": b"x" * 100 for number in range(700)}
    async with opening(one) as inner, opening(other) as target, asyncio.TaskGroup() as group:
        source = HeldStore(inner)
        await fill(source, ODD)
        for first in range(0, 700, 100):
            puts = [Put(key, value) for key, value in list(many.items())[first : first + 100]]
            await source.transact([], puts)
        writer = group.create_task(
            write(source, random.Random(7), begun=begun, until=until), name="writer"
        )
        await begun.wait()
        async with moving(source, target, hold=source.held) as moved:
            source.end()
        until.set()
        known = await writer
        assert await held_by(target) == {**ODD, **many, **known} == await held_by(inner)
        assert moved.digest.keys == len(ODD) + len(many) + len(known)


async def test_reads_go_on_and_writes_wait_for_the_last_step(opening: Open) -> None:
    async with opening("memory") as inner, opening("memory") as target:
        source = HeldStore(inner)
        await fill(source, ODD)
        async with asyncio.TaskGroup() as group:
            async with moving(source, target, hold=source.held):
                waiting = group.create_task(source.transact([], [Put("/w", b"1")]))
                assert await source.get("/e/a")
                await source.transact([], [Get(KeyRange.key("/e/a"))])
                assert not waiting.done()
            await waiting
        # The body did not make the new store the one to use, so the old one goes on.
        assert (await source.get("/w")) is not None


async def test_a_write_waits_only_so_long_and_then_surely_did_nothing() -> None:
    async with MemoryStore() as inner:
        source = HeldStore(inner, patience=0.01)
        async with source.held():
            with pytest.raises(Unavailable):
                await source.transact([], [Put("/w", b"1")])
        assert await source.get("/w") is None
        await source.transact([], [Put("/w", b"2")])


async def test_writes_that_wait_are_refused_once_another_store_has_taken_over() -> None:
    async with MemoryStore() as inner:
        source = HeldStore(inner, patience=3600)
        async with source.held():
            waiting = asyncio.ensure_future(source.transact([], [Put("/w", b"1")]))
            await asyncio.sleep(0)
            source.end()
            with pytest.raises(Unavailable):
                await waiting
        with pytest.raises(Unavailable):
            await source.transact([], [Put("/w", b"1")])
        assert await source.get("/w") is None


class Slow(Around):
    """Lets others run in the middle of each write."""

    async def before(self, call: str) -> None:
        if call == "write":
            for _ in range(5):
                await asyncio.sleep(0)


async def test_a_write_under_way_is_waited_for() -> None:
    async with MemoryStore() as inner, asyncio.TaskGroup() as group:
        source = HeldStore(Slow(inner))
        writing = group.create_task(source.transact([], [Put("/w", b"1")]))
        await asyncio.sleep(0)
        async with source.held():
            assert writing.done()


async def test_a_store_that_holds_something_is_not_moved_into(opening: Open) -> None:
    async with opening("memory") as inner, opening("memory") as target:
        source = HeldStore(inner)
        await target.transact([], [Put("/e/mine", b"1")])
        with pytest.raises(Refused, match="/e/mine"):
            async with moving(source, target, hold=source.held):
                raise AssertionError


@pytest.mark.parametrize("backend", ["memory", "sqlite", "etcd"])
async def test_a_move_that_was_interrupted_can_be_repeated(
    backend: str, opening: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miren.entities.store.copying._OPERATIONS", 3)
    monkeypatch.setattr("miren.entities.store.moving._TOLD", 5)

    def stop(_step: Step) -> None:
        raise KeyboardInterrupt

    async with opening("memory") as inner, opening(backend) as target:
        source = HeldStore(inner)
        await fill(source, ODD)
        with pytest.raises(KeyboardInterrupt):
            async with moving(source, target, hold=source.held, tell=stop):
                raise AssertionError
        assert await is_half_filled(target)
        async with opening("memory") as other:
            elsewhere = HeldStore(other)
            with pytest.raises(NotEmpty):
                async with moving(elsewhere, target, hold=elsewhere.held):
                    raise AssertionError
        await source.transact([], [Delete(KeyRange.prefix("/e/"))])
        async with moving(source, target, hold=source.held):
            assert not await is_half_filled(target)
            assert await held_by(target) == await held_by(inner)


class Lossy(Around):
    """Loses the key `/e/a` in every write."""

    async def transact(self, compares, then, otherwise=()):  # type: ignore[no-untyped-def]  # as above
        kept = [step for step in then if not (isinstance(step, Put) and step.key == "/e/a")]
        return await self.inner.transact(compares, kept, otherwise)


async def test_a_copy_that_differs_is_not_moved_to(opening: Open) -> None:
    async with opening("memory") as inner, opening("memory") as target:
        source = HeldStore(inner)
        await fill(source, ODD)
        with pytest.raises(MirenError, match="the copy differs"):
            async with moving(source, Lossy(target), hold=source.held):
                raise AssertionError
        await source.transact([], [Put("/w", b"1")])


class Forgetting(Around):
    """Compacts everything when it is told what is being copied."""

    async def list(self, range, **options):  # type: ignore[no-untyped-def]  # as above
        page = await self.inner.list(range, **options)
        await self.inner.transact([], [Put("/more", b"")])
        await self.inner.compact((await self.inner.status()).revision)
        return page


async def test_history_that_does_not_last_for_the_copy_ends_it(opening: Open) -> None:
    async with opening("memory") as inner, opening("memory") as target:
        await fill(inner, ODD)
        source = HeldStore(Forgetting(inner))
        with pytest.raises(Compacted):
            async with moving(source, target, hold=source.held):
                raise AssertionError
        await source.transact([], [Put("/w", b"1")])


@pytest.mark.parametrize("at", range(0, 120, 7))
async def test_a_move_that_is_cancelled_anywhere_leaves_a_store_that_works(at: int) -> None:
    async with MemoryStore() as inner, MemoryStore() as target:
        source = HeldStore(inner)
        await fill(source, ODD)
        before = await held_by(inner)

        async def move() -> None:
            async with moving(source, target, hold=source.held):
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(move())
        for _ in range(at):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await held_by(inner) == before
        await source.transact([], [Put("/w", b"1")])


async def test_progress_is_told(opening: Open) -> None:
    steps: list[Step] = []
    async with opening("memory") as inner, opening("memory") as target:
        source = HeldStore(inner)
        for number in range(2100):
            await source.transact([], [Put(f"/k/{number}", b"")])
        async with moving(source, target, hold=source.held, tell=steps.append):
            pass
    assert [step.name for step in steps] == ["copying", "copying", "comparing"]
    assert [step.keys for step in steps[:2]] == [1000, 2000]

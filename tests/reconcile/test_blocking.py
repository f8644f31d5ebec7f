"""An engine that is a whole program, and engines that come and go in one."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import pytest
import uvloop

from miren.entities.client import Client
from miren.entities.store.memory import MemoryStore
from miren.entities.store.sqlite import SQLiteStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.results import Key, Requeue
from tests.builders import Greeting, make_greeting
from tests.reconcile.greeters import Greeter

Factory = Callable[[], asyncio.AbstractEventLoop]


class Program(Greeter):
    """Greets once, and then the process is told to stop."""

    def __init__(self, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number
        self.loop: asyncio.AbstractEventLoop | None = None
        self.shouted = ""

    async def source(self, client: Client) -> AsyncIterator[Key[Greeting]]:
        self.loop = asyncio.get_running_loop()
        await client.create(make_greeting("hi"))
        yield Key("default", "hi")
        found = await client.wait(
            Greeting, "hi", lambda g: g is not None and g.status.shout != "", timeout=30
        )
        assert found is not None
        self.shouted = found.status.shout
        signal.raise_signal(self.number)
        await asyncio.Event().wait()


class Stubborn(Controller[Greeting]):
    """Never ends what it is at, and is told to stop twice."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def reconcile(self, ctx: Context[Greeting], entity: Greeting) -> Requeue | None:
        self.began.set()
        await asyncio.Event().wait()
        return None

    async def source(self, client: Client) -> AsyncIterator[Key[Greeting]]:
        await client.create(make_greeting("hi"))
        yield Key("default", "hi")
        await self.began.wait()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(10):
            await asyncio.sleep(0)  # it is waiting for what is in work by now
        signal.raise_signal(signal.SIGTERM)
        await asyncio.Event().wait()


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_an_engine_runs_until_a_signal_and_leaves_signals_as_they_were(
    loop_factory: Factory | None, number: signal.Signals
) -> None:
    def our_own(*_args: object) -> None:
        raise AssertionError("not while the engine runs")

    before = signal.signal(signal.SIGTERM, our_own)
    program = Program(number)
    try:
        Engine(MemoryStore(), [program]).run(loop_factory=loop_factory)
        assert handlers() == [signal.default_int_handler, our_own]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert program.shouted == "HEY"
    assert isinstance(program.loop, uvloop.Loop) == (loop_factory is not None)


def test_a_second_signal_does_not_wait_for_what_is_in_work() -> None:
    before = handlers()
    Engine(MemoryStore(), [Stubborn()], grace=3600).run()
    assert handlers() == before


def test_an_engine_that_breaks_says_why() -> None:
    class Broken(MemoryStore):
        async def __aenter__(self) -> Self:
            raise OSError("no room left")

    with pytest.raises(OSError, match="no room left"):
        Engine(Broken(), [Greeter()]).run()


def test_only_the_main_thread_is_told_of_signals() -> None:
    errors = []

    def run() -> None:
        try:
            Engine(MemoryStore(), [Greeter()]).run()
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert errors == ["signals come to the main thread only: use `async with` here"]


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_two_engines_start_and_stop_a_hundred_times_and_leave_nothing(
    tmp_path: Path, loop_factory: Factory | None
) -> None:
    async def come_and_go() -> None:
        memory, seen = MemoryStore(), []
        for number in range(101):
            file = SQLiteStore(tmp_path / f"{number % 5}.db")
            async with Engine(memory, [Greeter()]) as one, Engine(file, [Greeter()]) as other:
                if number % 10 == 0:
                    await one.client.ensure(make_greeting(f"g{number}"))
                    await other.client.ensure(make_greeting(f"g{number}"))
                    await one.run_until_idle()
                    await other.run_until_idle()
            seen.append((len(asyncio.all_tasks()), open_files(), threading.active_count()))
        assert len(set(seen)) == 1, seen

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(come_and_go())


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())

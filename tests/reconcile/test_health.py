"""Whether an engine is alive and ready, and what keeps it from that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from miren.entities.store.memory import MemoryStore
from miren.reconcile.engine import Engine
from miren.reconcile.health import EngineHealth
from tests.reconcile.engines import Desk, Member, Shouting, eventually
from tests.reconcile.greeters import Greeter
from tests.reconcile.virtual import running, settle, virtually
from tests.stores import Faulty


def troubles(health: EngineHealth) -> dict[str, str]:
    return {check.name: check.trouble for check in health.checks if check.trouble}


async def test_before_and_after_it_runs_it_is_not_alive() -> None:
    engine = Engine(MemoryStore(), [Greeter()])
    assert not engine.health().is_alive
    assert troubles(engine.health())["engine"] == "it does not run"
    assert not engine.health()[0].is_running
    async with engine:
        assert engine.health().is_alive
        assert engine.health()[0].is_running
    assert not engine.health().is_alive
    assert not engine.health()[0].is_running
    assert not engine.is_ready


@virtually
async def test_it_is_ready_once_every_cache_knows_what_there_is() -> None:
    async with running(Greeter()) as engine:
        assert engine.health().is_alive
        assert not engine.health().is_ready
        assert troubles(engine.health()) == {
            "cache/greeting.example.dev": "not listed yet",
            "controller/greeter": "waits for the cache of greeting.example.dev",
        }
        await settle()
        assert engine.is_ready
        assert [check.name for check in engine.health().checks] == [
            "engine",
            "cache/greeting.example.dev",
            "controller/greeter",
        ]


@virtually
async def test_without_its_store_it_is_alive_and_not_ready() -> None:
    store = Faulty(MemoryStore())
    async with running(Greeter(), store=store) as engine:
        await settle()
        store.go_down()
        await settle()
        assert engine.health().is_alive
        assert troubles(engine.health()) == {
            "cache/greeting.example.dev": "does not follow the store"
        }


@virtually
async def test_a_standby_is_ready() -> None:
    desk = Desk()
    async with MemoryStore() as store, asyncio.TaskGroup() as group:
        members = [Member(store, name, Shouting(desk, name), elect="s") for name in ("a", "b")]
        for member in members:
            group.create_task(member.run())
        await eventually(lambda: any(member.is_leading for member in members))
        await asyncio.sleep(1)
        assert [member.engine.is_ready for member in members] == [True, True]
        assert [member.is_leading for member in members].count(True) == 1
        for member in members:
            member.stop.set()


async def test_a_broken_plugin_is_told_of_and_does_not_make_it_unready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "lost-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lost\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[miren.controllers]\nlost = no_such_module:X\n")
    monkeypatch.syspath_prepend(tmp_path)
    async with Engine(MemoryStore(), plugins=True) as engine:
        health = engine.health()
    assert health.is_ready
    assert [(one.name, one.is_running) for one in health.controllers] == [("lost", False)]

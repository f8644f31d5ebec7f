"""Controllers of installed packages, from a distribution that lies in a folder on sys.path."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from miren.entities.entity import Entity
from miren.entities.store.memory import MemoryStore
from miren.reconcile.context import Context
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.plugins import load_plugins
from tests.builders import Greeting, GreetingSpec, GreetingStatus, make_greeting

GROUP = "miren.controllers"
MODULE = '''
from tests.reconcile.greeters import Greeter

class Plugged(Greeter):
    """A controller that comes with a package."""

def several():
    return [Plugged(), Plugged()]

def wrong():
    return [42]

def exploding():
    raise LookupError("no configuration")
'''


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "greetings-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nplugged = greetings_plugin:Plugged\nbroken = greetings_plugin:missing\n"
    )
    (tmp_path / "greetings_plugin.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "greetings_plugin", raising=False)


@pytest.mark.usefixtures("installed")
async def test_an_installed_controller_runs_and_a_broken_one_is_reported() -> None:
    async with Engine(MemoryStore(), plugins=True) as engine:
        await engine.client.create(make_greeting())
        found = await engine.client.wait(
            Greeting, "hi", lambda g: g is not None and g.status.shout == "HEY", timeout=30
        )
        assert found is not None
        plugged, broken = engine.health()
    assert (plugged.name, plugged.is_running) == ("plugged", True)
    assert (broken.name, broken.is_running) == ("broken", False)
    assert broken.last_error is not None
    assert broken.last_error.startswith("greetings_plugin:missing: AttributeError: ")


@pytest.mark.usefixtures("installed")
async def test_without_being_asked_an_engine_loads_no_plugins() -> None:
    async with Engine(MemoryStore(), []) as engine:
        assert engine.health() == ()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("greetings_plugin:wrong", "greetings_plugin:wrong: TypeError: 42 is not a Controller"),
        (
            "greetings_plugin:exploding",
            "greetings_plugin:exploding: LookupError: no configuration",
        ),
        ("no_such_module:x", "no_such_module:x: ModuleNotFoundError: "),
    ],
)
def test_whatever_a_plugin_raises_is_its_report(value: str, told: str) -> None:
    (plugin,) = load_plugins([EntryPoint("bad", value, GROUP)])
    assert plugin.controllers == ()
    assert (plugin.error or "").startswith(told)


@pytest.mark.usefixtures("installed")
def test_a_callable_may_return_several() -> None:
    points = [
        EntryPoint("z", "greetings_plugin:Plugged", GROUP),
        EntryPoint("a", "greetings_plugin:several", GROUP),
    ]
    several, one = load_plugins(points)
    assert (several.name, len(several.controllers)) == ("a", 2)
    assert (one.name, len(one.controllers)) == ("z", 1)


@pytest.mark.usefixtures("installed")
async def test_a_plugin_whose_kind_clashes_stops_no_other() -> None:
    class Other(Entity[GreetingSpec, GreetingStatus], api="example.dev/v1"):
        """Takes a name that is taken."""

    object.__setattr__(Other.kind, "name", "Greeting")

    class Clashing(Controller[Other]):
        async def reconcile(self, ctx: Context[Other], entity: Other) -> None: ...

    async with Engine(MemoryStore(), [Clashing()], plugins=True) as engine:
        health = {found.name: found for found in engine.health()}
    assert health["clashing"].is_running
    assert not health["plugged"].is_running
    assert "kind greeting.example.dev is defined twice" in (health["plugged"].last_error or "")

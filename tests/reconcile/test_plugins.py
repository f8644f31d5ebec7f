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
from miren.reconcile.plugins import fitting, load_plugins
from tests.builders import Greeting, GreetingSpec, GreetingStatus, make_greeting

GROUP = "miren.controllers"
MODULE = '''
from miren import Registry
from tests.builders import Greeting
from tests.reconcile.greeters import Greeter

class Plugged(Greeter):
    """A controller that comes with a package."""

def several():
    return [Plugged(), Plugged()]

def wrong():
    return [42]

def exploding():
    raise LookupError("no configuration")

def leaving():
    raise SystemExit(2)

def greedy(engine, more):
    return []

ENGINES = []

def curious(engine):
    ENGINES.append(engine)
    return registry

registry = Registry("night")

@registry.created(Greeting)
async def greet(ctx, greeting): ...

class Nameless(Greeter):
    @property
    def name(self):
        raise OSError("no name")
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
        assert engine.health().controllers == ()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("greetings_plugin:wrong", "greetings_plugin:wrong: TypeError: 42 is not a Controller"),
        (
            "greetings_plugin:exploding",
            "greetings_plugin:exploding: LookupError: no configuration",
        ),
        ("greetings_plugin:leaving", "greetings_plugin:leaving: SystemExit: 2"),
        (
            "greetings_plugin:greedy",
            "greetings_plugin:greedy: TypeError: greedy(engine, more) takes more than the engine",
        ),
        (
            "greetings_plugin:ENGINES",
            "greetings_plugin:ENGINES: TypeError: [] is no Controller class, Registry or callable",
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
def test_an_entry_point_may_be_a_registry_or_a_callable_that_takes_the_engine() -> None:
    points = [
        EntryPoint("a", "greetings_plugin:registry", GROUP),
        EntryPoint("b", "greetings_plugin:curious", GROUP),
    ]
    engine = Engine(MemoryStore())
    loaded = load_plugins(points, engine=engine)
    names = [controller.name for plugin in loaded for controller in plugin.controllers]
    assert names == ["night-greeting"] * 2
    known = sys.modules["greetings_plugin"].ENGINES
    assert known == [engine]


def test_an_import_that_leaves_the_process_is_a_broken_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_at_once.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = load_plugins([EntryPoint("leaves", "leaves_at_once:X", GROUP)])
    assert plugin.error == "leaves_at_once:X: SystemExit: bye"


@pytest.mark.usefixtures("installed")
def test_an_import_that_takes_long_is_only_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("miren.reconcile.plugins._SLOW", 0.0)
    (plugin,) = load_plugins([EntryPoint("plugged", "greetings_plugin:Plugged", GROUP)])
    assert plugin.error is None
    (record,) = caplog.records
    assert record.getMessage() == "plugin is slow to import"
    assert record.__dict__["entry_point"] == "greetings_plugin:Plugged"


@pytest.mark.usefixtures("installed")
def test_a_plugin_that_breaks_when_it_is_asked_stops_no_other() -> None:
    points = [
        EntryPoint("a", "greetings_plugin:Nameless", GROUP),
        EntryPoint("b", "greetings_plugin:Plugged", GROUP),
        EntryPoint("c", "greetings_plugin:Plugged", GROUP),
    ]
    nameless, plugged, again = fitting(load_plugins(points), (), ())
    assert nameless.error == "OSError: no name"
    assert (plugged.error, len(plugged.controllers)) == (None, 1)
    assert again.error == "there are two controllers named 'plugged'"
    assert again.controllers == ()


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

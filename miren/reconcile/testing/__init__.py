"""For the tests of controllers: one reconcile without a server, and whole engines under faults.

    out = await reconcile_once(Greeter(), Greeting.new("hi", text="yo"))
    assert out.entity.status.shout == "YO"

    @pytest.mark.simulate(seeds=50, faults=ALL)
    async def test_converges(sim: Simulation) -> None: ...

`simulate` runs the real engine on a loop whose clock jumps to the next timer, and whose tasks take
turns as a seed says, over a store that fails; `run_virtual` only jumps. The pytest plugin is
found by pytest where Miren is installed. The names here are loaded when they are first used, so
that it costs nothing where nobody uses it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from miren.reconcile.testing.faults import ALL, NONE, Fault
    from miren.reconcile.testing.loop import VirtualLoop, run_virtual
    from miren.reconcile.testing.machine import Machine
    from miren.reconcile.testing.once import Once, reconcile_once
    from miren.reconcile.testing.replaying import Rate, measure, simulate
    from miren.reconcile.testing.simulation import Scenario, Simulation
    from miren.reconcile.testing.trace import Entry, Trace

__all__ = [
    "ALL",
    "NONE",
    "Entry",
    "Fault",
    "Machine",
    "Once",
    "Rate",
    "Scenario",
    "Simulation",
    "Trace",
    "VirtualLoop",
    "measure",
    "reconcile_once",
    "run_virtual",
    "simulate",
]

_HOMES = {
    "faults": ("ALL", "NONE", "Fault"),
    "loop": ("VirtualLoop", "run_virtual"),
    "machine": ("Machine",),
    "once": ("Once", "reconcile_once"),
    "replaying": ("Rate", "measure", "simulate"),
    "simulation": ("Scenario", "Simulation"),
    "trace": ("Entry", "Trace"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""The pytest plugin: tests that run once for each of many seeds.

    @pytest.mark.simulate(seeds=50, faults=ALL)
    async def test_converges(sim: Simulation) -> None: ...

All seeds of a test are one item, which fails with the first seed that does, and says how to run
that one again. It needs no other plugin for `async def`, and goes together with those there are.
What the engine logs is shown only when a seed is run again; the trace is always there.

pytest loads this wherever Miren is installed, so nothing of it is imported until a test needs it.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from miren.reconcile.testing.simulation import Simulation

__all__: list[str] = []

_MARK = "simulate"
_SEEDS = 50


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("miren", "simulations of Miren")
    group.addoption(
        "--simulate-seeds", type=int, metavar="N", help="run every simulation with seeds 0 to N-1"
    )
    group.addoption(
        "--simulate-seed",
        type=int,
        metavar="SEED",
        help="run simulations with this seed only",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line(
        "markers",
        f"{_MARK}(seeds={_SEEDS}, faults=ALL, **options): run with so many seeds, see"
        " miren.reconcile.testing; the test takes `sim`",
    )


@pytest.fixture
def sim(request: pytest.FixtureRequest) -> Simulation | None:
    """The simulation of a test that is marked `simulate`, another one for each seed."""
    if request.node.get_closest_marker(_MARK) is None:
        pytest.fail(f"`sim` is for tests marked with @pytest.mark.{_MARK}", pytrace=False)
    return None  # it comes into being in the loop of each seed


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked test once for each seed."""
    mark = pyfuncitem.get_closest_marker(_MARK)
    if mark is None:
        return None
    from miren.reconcile.testing.replaying import simulate

    test = _test_of(pyfuncitem)
    # pytest has no public name for what a test's arguments are called.
    names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001
    if "sim" not in names:
        pytest.fail(f"a test marked {_MARK} takes `sim`", pytrace=False)
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def scenario(sim: Simulation) -> None:
        await test(**{**arguments, "sim": sim})

    options = dict(mark.kwargs)
    given = options.pop("seeds", mark.args[0] if mark.args else _SEEDS)
    only, many = _option(pyfuncitem, "seed"), _option(pyfuncitem, "seeds")
    seeds = range(many or given) if only is None else [only]
    for seed in seeds:
        replay = f"pytest {shlex.quote(pyfuncitem.nodeid)} --simulate-seed={seed}"
        simulate(scenario, seed=seed, replay=replay, is_quiet=only is None, **options)
    return True


def _option(item: pytest.Function, name: str) -> int | None:
    found: int | None = item.config.getoption(f"simulate_{name}")
    return found


def _test_of(item: pytest.Function) -> Callable[..., Coroutine[Any, Any, object]]:
    """Return the coroutine function, which a plugin for such may have wrapped into another one."""
    found: Any = item.obj
    while not inspect.iscoroutinefunction(found):
        if not hasattr(found, "__wrapped__"):
            pytest.fail(f"a test marked {_MARK} must be `async def`", pytrace=False)
        found = found.__wrapped__
    test: Callable[..., Coroutine[Any, Any, object]] = found
    return test

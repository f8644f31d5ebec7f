"""The pytest plugin, as people who install Miren have it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import pytest
from miren import Context, Controller, Entity, Model
from miren.reconcile.testing import ALL, Simulation

class LampSpec(Model):
    on: bool = True

class LampStatus(Model):
    lit: bool = False

class Lamp(Entity[LampSpec, LampStatus], api="example.dev/v1"): ...

class Lighter(Controller[Lamp]):
    async def reconcile(self, ctx: Context[Lamp], lamp: Lamp) -> None:
        ctx.status = LampStatus(lit=lamp.spec.on)

@pytest.fixture
def name() -> str:
    return "hall"

@pytest.mark.simulate(seeds=12, faults=ALL)
@pytest.mark.parametrize("on", [True, False])
async def test_lamps(sim: Simulation, name: str, on: bool) -> None:
    await sim.start(lambda: [Lighter()])
    await sim.client.apply(Lamp.partial(name, on=on), manager="people")
    await sim.settle()
    assert (await sim.client.get(Lamp, name)).status.lit == on

@pytest.mark.simulate(seeds=40)
async def test_unlucky(sim: Simulation) -> None:
    number = sim.rng.randrange(20)
    sim.note(f"drew {number}")
    assert number != 7
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    strict = ["--strict-markers", "-W", "error", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *strict, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    )
    (tmp_path / "test_lamps.py").write_text(FILE)
    return tmp_path


@pytest.mark.parametrize("other", [("-p", "no:asyncio"), ("-o", "asyncio_mode=auto")], ids=str)
def test_a_failing_seed_is_told_with_the_command_that_replays_it(
    folder: Path, other: tuple[str, ...]
) -> None:
    # Without the other plugin its option in the file would be unknown.
    (folder / "pytest.ini").write_text(
        "[pytest]\n" if "no:asyncio" in other else (folder / "pytest.ini").read_text()
    )
    first = run(folder, *other)
    assert "1 failed, 2 passed" in first.stdout, first.stdout
    # Where CI is set, pytest says it in its summary too.
    (command,) = set(re.findall(r"pytest test_lamps\.py\S* --simulate-seed=\d+", first.stdout))
    assert "drew 7" in first.stdout

    again = run(folder, *other, *shlex.split(command)[1:])
    assert "1 failed" in again.stdout, again.stdout
    assert "drew 7" in again.stdout

    few = run(folder, *other, "--simulate-seeds=1", "test_lamps.py::test_unlucky")
    assert "1 passed" in few.stdout, few.stdout


def test_who_does_not_use_it_pays_nothing(folder: Path) -> None:
    (folder / "test_lamps.py").write_text(
        "import sys\n"
        "def test_nothing_is_loaded():\n"
        "    heavy = [name for name in sys.modules if name.startswith('miren.entities')]\n"
        "    assert not heavy and 'pydantic' not in sys.modules\n"
    )
    done = run(folder)
    assert "1 passed" in done.stdout, done.stdout


def test_what_it_cannot_run_is_refused_with_a_reason(folder: Path) -> None:
    (folder / "test_lamps.py").write_text(
        "import pytest\n"
        "def test_unmarked(sim): ...\n"
        "@pytest.mark.simulate\n"
        "async def test_without_sim(): ...\n"
        "@pytest.mark.simulate\n"
        "def test_not_async(sim): ...\n"
    )
    done = run(folder)
    assert "`sim` is for tests marked with @pytest.mark.simulate" in done.stdout, done.stdout
    assert "a test marked simulate takes `sim`" in done.stdout
    assert "a test marked simulate must be `async def`" in done.stdout

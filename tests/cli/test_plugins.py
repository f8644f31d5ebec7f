"""`miren plugins`: what is installed, whether it would work, and how a new one begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.servers import Done, call_main, run_miren

Install = Callable[..., Path]

GOOD = """
from miren import Context, Controller, Entity, Model, index, watches

class PlanetSpec(Model):
    size: int = 1

class PlanetStatus(Model):
    seen: int = 0

class Planet(Entity[PlanetSpec, PlanetStatus], api="planets.example.dev/v1"): ...

KINDS = (Planet,)

class PlanetController(Controller[Planet], finalizer="planets.example.dev/orbit"):
    async def reconcile(self, ctx: Context[Planet], planet: Planet) -> None: ...
    async def finalize(self, ctx: Context[Planet], planet: Planet) -> None: ...

    @watches(Planet)
    def twins(self, planet: Planet) -> list[object]:
        return []

    @index
    def by_size(self, planet: Planet) -> list[str]:
        return [str(planet.spec.size)]
"""

BAD = """
from miren import Context, Controller, index, watches
from planets import Planet

class Claiming(Controller[Planet], finalizer="core.miren.dev/x y", primary=False):
    async def reconcile(self, ctx: Context[Planet], planet: Planet) -> None: ...
    async def finalize(self, ctx: Context[Planet], planet: Planet) -> None: ...

class Presuming(Controller[Planet], finalizer="core.miren.dev/ours", primary=False):
    async def reconcile(self, ctx: Context[Planet], planet: Planet) -> None: ...
    async def finalize(self, ctx: Context[Planet], planet: Planet) -> None: ...

    @watches(Planet)
    async def later(self, planet: Planet) -> list[object]:
        return []

    @index
    def by_nothing(self) -> list[str]:
        return []

def several():
    return [Claiming(), Presuming()]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Do what pip does: modules, and metadata that names their entry points."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def put(package: str, source: str, *, schemas: str = "", controllers: str = "") -> Path:
        module = package.replace("-", "_")
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = [
            *(["[miren.schemas]", f"{package} = {schemas}"] if schemas else []),
            *(["[miren.controllers]", f"{package} = {controllers}"] if controllers else []),
        ]
        (info / "entry_points.txt").write_text("\n".join([*points, ""]))
        return site

    yield put
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if Path(file).is_relative_to(site):
            del sys.modules[name]


def planets(install: Install) -> None:
    install("planets", GOOD, schemas="planets", controllers="planets:PlanetController")


def rabbit(folder: Path, *words: str) -> Done:
    done = call_main("plugin", "new", "rabbit-hutch", "--dir", folder, *words)
    assert (done.code, done.err) == (0, ""), done
    return done


# -- list --------------------------------------------------------------------------------------


def test_without_plugins_it_says_so() -> None:
    for action in ("list", "check"):
        done = call_main("plugins", action)
        assert (done.code, done.out, done.err) == (0, "no plugins are installed\n", "")
    assert json.loads(call_main("plugins", "list", "-o", "json").out) == []


def test_what_is_installed_is_listed_with_what_is_wrong_with_it(install: Install) -> None:
    planets(install)
    install("quits", "raise SystemExit(3)", schemas="quits", controllers="quits:Any")
    done = call_main("plugins", "list")
    assert (done.code, done.err) == (0, "")
    kind = "planet.planets.example.dev"
    assert [line.split(maxsplit=5) for line in done.lines] == [
        ["NAME", "BRINGS", "PACKAGE", "VERSION", "KINDS", "STATE"],
        ["planets", "schemas", "planets", "1.0", kind, "loaded"],
        ["planets", "controllers", "planets", "1.0", kind, "loaded"],
        ["quits", "schemas", "quits", "1.0", "-", "broken: quits: SystemExit: 3"],
        ["quits", "controllers", "quits", "1.0", "-", "broken: quits:Any: SystemExit: 3"],
    ]
    told = json.loads(call_main("plugins", "list", "-o", "json").out)
    assert told[1] == {
        "name": "planets",
        "brings": "controllers",
        "entryPoint": "planets:PlanetController",
        "package": "planets",
        "version": "1.0",
        "kinds": [kind],
        "controllers": ["planetcontroller"],
        "error": None,
    }
    assert told[3]["error"] == "quits:Any: SystemExit: 3"


# -- check -------------------------------------------------------------------------------------


def test_what_would_work_is_ok(install: Install) -> None:
    planets(install)
    done = call_main("plugins", "check", "planets")
    assert (done.code, done.lines) == (
        0,
        [
            "planets 1.0: schemas planets: ok, 1 kind",
            "planets 1.0: controllers planets: ok, 1 controller",
        ],
    )


def test_what_could_only_fail_later_is_found(install: Install) -> None:
    planets(install)
    install("raiders", BAD, controllers="raiders:several")
    done = call_main("plugins", "check", "raiders")
    assert done.code == 1
    assert done.lines == [
        "raiders 1.0: controllers raiders: broken",
        "  Claiming: finalizer 'core.miren.dev/x y' must be '<domain>/<name>'",
        "  Presuming: @watches later must not be async: it is called while changes are told",
        "  Presuming: @index by_nothing must take (self, entity)",
        "  Presuming: finalizer 'core.miren.dev/ours' is in the domain of Miren itself",
    ]


def test_what_a_class_line_refuses_is_told(install: Install) -> None:
    source = GOOD.replace("async def reconcile(self, ctx", "def reconcile(self, ctx")
    install("planets", source, controllers="planets:PlanetController")
    done = call_main("plugins", "check")
    assert done.code == 1
    told = "planets:PlanetController: TypeError: PlanetController.reconcile must be `async def`"
    assert done.lines[1] == f"  {told}"


def test_a_kind_that_is_there_already_breaks_who_comes_second(install: Install) -> None:
    planets(install)
    install("second", GOOD, schemas="second")
    done = call_main("plugins", "check")
    assert done.code == 1
    assert [line.rpartition(": ")[2] for line in done.lines if line[0] != " "] == [
        "ok, 1 kind",
        "ok, 1 controller",
        "broken",
    ]
    assert "kind planet.planets.example.dev is defined twice" in done.lines[-1]


def test_two_controllers_of_one_name_are_not_both_loaded(install: Install) -> None:
    planets(install)
    install("zebras", "from planets import *", controllers="zebras:PlanetController")
    done = call_main("plugins", "check", "zebras")
    assert done.code == 1
    assert done.lines[1] == "  there are two controllers named 'planetcontroller'"


def test_a_name_that_is_not_installed_is_not_found(install: Install) -> None:
    planets(install)
    done = call_main("plugins", "check", "planet")
    assert done.code == 3
    assert "did you mean 'planets'?" in done.err


def test_generated_code_that_is_stale_is_found(install: Install, tmp_path: Path) -> None:
    site = install("rabbit-hutch", "", schemas="rabbit_hutch.gen")
    (site / "rabbit_hutch.py").unlink()
    rabbit(tmp_path / "new")
    (tmp_path / "new" / "rabbit_hutch").rename(site / "rabbit_hutch")
    assert call_main("plugins", "check").code == 0
    schema = site / "rabbit_hutch" / "schema" / "v1alpha1.yml"
    before = schema.read_text()
    schema.write_text(before.replace("words: {type: int", "words: {type: string"))
    done = call_main("plugins", "check")
    assert done.code == 1
    gen = site / "rabbit_hutch" / "gen"
    command = f"miren schema generate {schema.parent} --out {gen}"
    assert done.lines[1:] == [f"  {gen / 'v1alpha1.py'} is stale: run `{command}`"]
    schema.write_text(before.replace("type: int", "type: integral"))
    done = call_main("plugins", "check")
    assert done.code == 1
    assert "integral" in done.out
    schema.unlink()
    assert call_main("plugins", "check").code == 0, "what is not there says nothing"


# -- new ---------------------------------------------------------------------------------------


def test_nothing_is_written_over_or_half(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    rabbit(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = call_main("plugins", "new", "rabbit-hutch", "--dir", folder)
    assert (done.code, "is there already" in done.err) == (6, True)
    assert {path: path.read_bytes() for path in before} == before
    for wrong in (
        ["Rabbit"],
        ["json"],
        ["../x"],
        ["x", "--domain", "no domain"],
        ["x", "--domain", "x.dev\ndoc: more"],
        ["x", "--domain", "x.dev # more"],
        ["x", "--kind", "9"],
        ["x", "--kind", "../../x"],
        ["x", "--kind", "a:\n    t: {type: string, doc: x}\n  b"],
        ["x", "--kind", "Context"],
        ["memory-store"],
    ):
        done = call_main("plugins", "new", *wrong, "--dir", tmp_path / "other")
        assert done.code == 2, done
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", ["class", "entity"])
def test_whatever_its_kind_is_called_its_tests_pass(kind: str, tmp_path: Path) -> None:
    rabbit(tmp_path / "new", "--kind", kind, "--domain", "hutches.example.dev")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "new",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "new")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_a_new_package_installs_and_passes_its_checks_at_once(tmp_path: Path) -> None:
    folder, site = tmp_path / "rabbit-hutch", tmp_path / "site"
    rabbit(folder)

    def run(*words: str | Path, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=55,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    quick = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run("pip", "install", "-q", *quick, "--target", site, ".")
    run("pytest", "-q", "-p", "no:cacheprovider", PYTHONPATH=str(site))
    run("mypy", "--cache-dir", tmp_path / "cache", MYPYPATH=str(ROOT))
    run("ruff", "check", "--isolated", "--select", "E,F,I,B", "--line-length", "99", ".")

    listed = run_miren("plugins", "list", PYTHONPATH=str(site))
    checked = run_miren("plugins", "check", "rabbit-hutch", PYTHONPATH=str(site))
    assert (listed.code, checked.code) == (0, 0), checked
    shown = [block.text for block in blocks("text") if block.page.name == "write-a-plugin.md"]
    assert f"$ miren plugins list\n{listed.out}" in shown
    assert f"$ miren plugins check\n{checked.out}" in shown

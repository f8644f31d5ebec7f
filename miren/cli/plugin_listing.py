"""Which plugins are installed, loaded as a server would load them, and `miren plugins list`.

They are loaded into an engine that never runs, over a store in memory: what breaks there would
break in a server too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from miren.cli.output import table_lines
from miren.entities.entity import Entity
from miren.entities.gen import KINDS
from miren.entities.plugins import SCHEMAS, load_schemas
from miren.entities.store.memory import MemoryStore
from miren.reconcile.controller import Controller
from miren.reconcile.engine import Engine
from miren.reconcile.plugins import CONTROLLERS

__all__ = ["Installed", "installed", "listing"]

_COLUMNS = ("NAME", "BRINGS", "PACKAGE", "VERSION", "KINDS", "STATE")


@dataclass(frozen=True, slots=True)
class Installed:
    """One entry point of a package; `error` says why it brings nothing."""

    name: str
    group: str
    point: EntryPoint | None
    kinds: tuple[type[Entity[Any, Any]], ...] = ()
    controllers: tuple[Controller[Any], ...] = ()
    error: str | None = None

    @property
    def package(self) -> str:
        """The distribution it is of, `-` where that is not known."""
        return self.point.dist.name if self.point and self.point.dist else "-"

    @property
    def version(self) -> str:
        """That distribution's version."""
        return self.point.dist.version if self.point and self.point.dist else "-"

    @property
    def brings(self) -> str:
        """`schemas` or `controllers`."""
        return self.group.rpartition(".")[2]


def installed() -> tuple[Installed, ...]:
    """Return every installed plugin, those that break included, by package and name."""
    found = sorted(_load(), key=lambda each: (each.package, each.name, each.group == CONTROLLERS))
    return tuple(found)


def _load() -> Iterator[Installed]:
    schemas = load_schemas(KINDS)
    for schema in schemas:
        yield Installed(schema.name, SCHEMAS, schema.point, schema.kinds, error=schema.error)
    known = (*KINDS, *(kind for schema in schemas for kind in schema.kinds))
    for plugin in Engine(MemoryStore(), plugins=True, known=known).plugins:
        yield Installed(
            plugin.name,
            CONTROLLERS,
            plugin.point,
            tuple(dict.fromkeys(type(each).kind for each in plugin.controllers)),
            plugin.controllers,
            plugin.error,
        )


def listing(form: str) -> int:
    """Print what is installed, as a `table` or `json`."""
    found = installed()
    if form == "json":
        print(json.dumps([_document(each) for each in found], indent=2, ensure_ascii=False))
    elif not found:
        print("no plugins are installed")
    else:
        print("\n".join(table_lines(_COLUMNS, [_row(each) for each in found])))
    return 0


def _kinds(each: Installed) -> list[str]:
    return list(dict.fromkeys(str(kind.kind) for kind in each.kinds))


def _row(each: Installed) -> list[str]:
    state = "loaded" if each.error is None else f"broken: {each.error}"
    kinds = ", ".join(_kinds(each)) or "-"
    return [each.name, each.brings, each.package, each.version, kinds, state]


def _document(each: Installed) -> dict[str, Any]:
    return {
        "name": each.name,
        "brings": each.brings,
        "entryPoint": each.point.value if each.point else None,
        "package": each.package,
        "version": each.version,
        "kinds": _kinds(each),
        "controllers": [controller.name for controller in each.controllers],
        "error": each.error,
    }

"""Kinds from installed packages: the entry point group `miren.schemas`.

An entry point names a sequence of kinds (`example_widgets:KINDS`), or a module that has one
called `KINDS`. A broken one is reported and stops no other, whatever importing it raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from miren.base.errors import MirenError
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds

__all__ = ["SCHEMAS", "SchemaPlugin", "load_schemas"]

#: The entry point group.
SCHEMAS = "miren.schemas"

Kind = type[Entity[Any, Any]]


@dataclass(frozen=True, slots=True)
class SchemaPlugin:
    """One entry point: its kinds, or why there are none."""

    name: str
    kinds: tuple[Kind, ...] = ()
    error: str | None = None
    point: EntryPoint | None = None


def load_schemas(
    known: Iterable[Kind] = (), points: Iterable[EntryPoint] | None = None
) -> tuple[SchemaPlugin, ...]:
    """Return every installed plugin, loaded or with its error, by name.

    One whose kinds cannot stand beside the `known` ones and those of plugins before it has an
    error.
    """
    found = entry_points(group=SCHEMAS) if points is None else points
    before = list(known)
    plugins = []
    for point in sorted(found, key=lambda point: point.name):
        plugin = _load(point, before)
        before += plugin.kinds
        plugins.append(plugin)
    return tuple(plugins)


def _load(point: EntryPoint, before: Sequence[Kind]) -> SchemaPlugin:
    try:
        kinds = tuple(_kinds(point.load()))
        Kinds([*before, *kinds])
    except MirenError as error:
        return SchemaPlugin(point.name, error=f"{point.value}: {error.message}", point=point)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody else's code: whatever it raises is its report
        told = f"{point.value}: {type(error).__name__}: {error}"
        return SchemaPlugin(point.name, error=told, point=point)
    return SchemaPlugin(point.name, kinds, point=point)


def _kinds(loaded: Any) -> Iterable[Kind]:
    found = loaded.KINDS if isinstance(loaded, ModuleType) else loaded
    for kind in found:
        if not (isinstance(kind, type) and issubclass(kind, Entity) and hasattr(kind, "kind")):
            raise TypeError(f"{kind!r} is not a kind")
        yield kind

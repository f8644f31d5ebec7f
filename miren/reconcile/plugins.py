"""Controllers from installed packages: the entry point group `miren.controllers`.

An entry point names a Controller class, or a callable that returns controllers. A broken one is
reported and stops no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from miren.reconcile.controller import Controller

__all__ = ["Plugin", "load_plugins"]

_GROUP = "miren.controllers"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: its controllers, or why there are none."""

    name: str
    controllers: tuple[Controller[Any], ...] = ()
    error: str | None = None


def load_plugins(points: Iterable[EntryPoint] | None = None) -> tuple[Plugin, ...]:
    """Return every installed plugin, loaded or with its error, by name."""
    found = entry_points(group=_GROUP) if points is None else points
    return tuple(_load(point) for point in sorted(found, key=lambda point: point.name))


def _load(point: EntryPoint) -> Plugin:
    try:
        return Plugin(point.name, tuple(_controllers(point.load())))
    except Exception as error:  # somebody else's code: whatever it raises is its report
        return Plugin(point.name, error=f"{point.value}: {type(error).__name__}: {error}")


def _controllers(loaded: Any) -> Iterable[Controller[Any]]:
    made = loaded()
    found = [made] if isinstance(made, Controller) else list(made)
    for controller in found:
        if not isinstance(controller, Controller):
            raise TypeError(f"{controller!r} is not a Controller")
    return found

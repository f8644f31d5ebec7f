"""Controllers from installed packages: the entry point group `miren.controllers`.

An entry point names a Controller class, a Registry, or a callable that returns any of these and
may take the engine. A broken one is reported and stops no other: whatever happens while it is
imported, called, or asked what its controllers work with, SystemExit included. One that takes
long to import is waited for, and the log says so.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from miren.base.errors import MirenError
from miren.entities.entity import Entity
from miren.entities.kinds import Kinds
from miren.reconcile.controller import Controller, check_together, kinds_of
from miren.reconcile.registry import Registry, controllers_of

if TYPE_CHECKING:
    from miren.reconcile.engine import Engine

__all__ = ["CONTROLLERS", "Plugin", "fitting", "load_plugins"]

#: The entry point group.
CONTROLLERS = "miren.controllers"

_SLOW = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: its controllers, or why there are none."""

    name: str
    controllers: tuple[Controller[Any], ...] = ()
    error: str | None = None
    point: EntryPoint | None = None


def load_plugins(
    points: Iterable[EntryPoint] | None = None, *, engine: Engine | None = None
) -> tuple[Plugin, ...]:
    """Return every installed plugin, loaded or with its error, by name.

    `engine` is what callables are given that take one; its client is there once it runs.
    """
    found = entry_points(group=CONTROLLERS) if points is None else points
    return tuple(_load(point, engine) for point in sorted(found, key=lambda point: point.name))


def fitting(
    plugins: Iterable[Plugin],
    controllers: Iterable[Controller[Any]],
    kinds: Iterable[type[Entity[Any, Any]]],
) -> tuple[Plugin, ...]:
    """Return the plugins; one has an error that brings what `controllers` or others have already.

    That is a kind, defined anew, or what `check_together` refuses.
    """
    fine = list(controllers)
    known = [*kinds, *(kind for controller in fine for kind in kinds_of(controller))]
    fitted: list[Plugin] = []
    for plugin in plugins:
        try:
            more = [kind for controller in plugin.controllers for kind in kinds_of(controller)]
            Kinds([*known, *more])
            check_together([*fine, *plugin.controllers])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # somebody else's code, see `_load`
            told = error.message if isinstance(error, MirenError) else _told(error)
            fitted.append(replace(plugin, controllers=(), error=told))
        else:
            known += more
            fine += plugin.controllers
            fitted.append(plugin)
    return tuple(fitted)


def _load(point: EntryPoint, engine: Engine | None) -> Plugin:
    begun = time.perf_counter()
    try:
        loaded = point.load()
        _tell_if_slow(point, time.perf_counter() - begun)
        return Plugin(point.name, tuple(_controllers(loaded, engine)), point=point)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody else's code: whatever it raises is its report
        return Plugin(point.name, error=f"{point.value}: {_told(error)}", point=point)


def _tell_if_slow(point: EntryPoint, seconds: float) -> None:
    if seconds >= _SLOW:
        told = {"plugin": point.name, "entry_point": point.value, "seconds": round(seconds, 1)}
        log.warning("plugin is slow to import", extra=told)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _controllers(loaded: Any, engine: Engine | None) -> Iterable[Controller[Any]]:
    made = loaded if isinstance(loaded, Registry) else _call(loaded, engine)
    parts = [made] if isinstance(made, Controller | Registry) else list(made)
    found = controllers_of(parts)
    for controller in found:
        if not isinstance(controller, Controller):
            raise TypeError(f"{controller!r} is not a Controller")
    return found


def _call(loaded: Any, engine: Engine | None) -> Any:
    """Call what an entry point names, with the engine if it takes one."""
    if not callable(loaded):
        raise TypeError(f"{loaded!r} is no Controller class, Registry or callable")
    signature = inspect.signature(loaded)
    for given in ((), (engine,)):
        try:
            signature.bind(*given)
        except TypeError:
            continue
        return loaded(*given)
    raise TypeError(f"{loaded.__qualname__}{signature} takes more than the engine")

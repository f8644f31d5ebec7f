"""Which kinds a command knows without asking a server: ours, and those of installed packages."""

from __future__ import annotations

import sys

from miren.entities.gen import KINDS
from miren.entities.kinds import Kinds

__all__ = ["known_kinds"]


def known_kinds() -> Kinds:
    """Return the kinds of this installation: ours, and those of installed packages.

    A package whose kinds cannot be used is named on the standard error, and left out.
    """
    from importlib.metadata import entry_points

    from miren.entities.plugins import load_schemas

    kinds = Kinds(KINDS)
    for schemas in load_schemas(KINDS):
        if schemas.error is not None:
            told = f"the kinds of plugin {schemas.name!r} are not known: {schemas.error}"
            print(f"warning: {told}", file=sys.stderr)
        for kind in schemas.kinds:
            kinds.add(kind)
    points = entry_points(group="miren.controllers")
    if points:  # the engine is imported only where somebody's controllers are
        from miren.reconcile.plugins import load_plugins

        for plugin in load_plugins(points):
            for controller in plugin.controllers:
                kinds.add(type(controller).kind)
    return kinds

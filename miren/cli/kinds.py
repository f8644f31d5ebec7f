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
    from miren.entities.plugins import load_schemas
    from miren.reconcile.plugins import load_plugins

    kinds = Kinds(KINDS)
    for schemas in load_schemas(KINDS):
        if schemas.error is not None:
            told = f"the kinds of plugin {schemas.name!r} are not known: {schemas.error}"
            print(f"warning: {told}", file=sys.stderr)
        for kind in schemas.kinds:
            kinds.add(kind)
    for plugin in load_plugins():
        for controller in plugin.controllers:
            kinds.add(type(controller).kind)
    return kinds
